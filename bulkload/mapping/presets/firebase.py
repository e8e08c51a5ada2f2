"""Firebase: registration tokens of Cloud Messaging, as applications keep them.

Firebase has no listing of tokens: "Best practices for FCM registration token management" has the application keep each
one with a timestamp, such as ``{token, timestamp}`` in a Firestore document for each user or device. Taken are
Firestore REST API reference, "documents.list": ``{"documents": [{"name": "projects/…/documents/fcmTokens/ada",
"fields": {"token": {"stringValue": …}, …}}], "nextPageToken": …}`` with a type around each value; the same documents as
plain rows or objects, such as a query's result; and Instance ID server reference, "Get information about app
instances": application, platform (ANDROID, IOS or CHROME) and ``rel.topics``, an answer that does not repeat the token
it was asked for, so that it needs adding. Firestore's managed export is in a binary format.

A token for iOS or a browser is Firebase's as well, not Apple's or the browser's: each goes to fcmv1.
"""

from collections.abc import Iterator

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import NOT_THEIRS, REPAIRS, each, tagged, tags

_TOKENS = "token || fcmToken || registrationToken || registration_token"


def _plain(value: object) -> object:
    """A value of a Firestore document without the type around it, two levels deep at the most."""
    if not isinstance(value, dict):
        return value
    if isinstance(held := value.get("arrayValue"), dict) and isinstance(elements := held.get("values"), list):
        return [next(iter(element.values()), None) for element in elements if isinstance(element, dict)]
    return next(iter(value.values()), None)


def _documents(source_object: Fields) -> Iterator[Fields]:
    for document in each(source_object, "documents"):
        fields = document.get("fields")
        name = document.get("name")
        row = document
        if isinstance(fields, dict) and isinstance(name, str):
            row = {key: _plain(value) for key, value in fields.items()}
            row["documentId"] = name.rpartition("/")[2]
        topics = tags(row.get("topics"))
        related = row.get("rel")
        if isinstance(related, dict) and isinstance(related.get("topics"), dict):
            topics = tags(list(related["topics"]))
        yield tagged(row, topics)


FIREBASE = Preset(
    name="firebase",
    expects=(
        "registration tokens as your application keeps them, since Firebase does not list them: the answers of "
        "Firestore's documents.list, or rows or objects with token (or fcmToken, registrationToken), userId (or uid, "
        "user_id, else the document's id) and topics, which become tags; answers of Instance ID's info call need their "
        "token added; every token becomes fcmv1, the id a hash of it"
    ),
    records="documents",
    columns=(("token", "fcmToken", "registrationToken", "registration_token"),),
    flags=MappingFlags(
        where=_TOKENS,
        map={
            **NOT_THEIRS,
            "userId": f"userId || uid || user_id || (documentId != ({_TOKENS}) && documentId || `null`)",
            "platform": "'fcmv1'",
            "pushChannel": _TOKENS,
        },
        id_from="push-channel",
        repair=REPAIRS,
    ),
    objects=_documents,
)
