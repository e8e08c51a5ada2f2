"""Secondary tiles: more push channels of one WNS installation, under the same rules."""

from collections.abc import Iterator

from bulkload.installation.channel import channel_findings
from bulkload.installation.flaw import Finding
from bulkload.installation.names import TILE, name_findings
from bulkload.installation.tags import tag_findings
from bulkload.installation.template import template_findings
from bulkload.installation.words import kind, label


def tile_findings(tiles: object, platform: str | None, place: str = "secondaryTiles") -> Iterator[Finding]:
    """What is wrong with some secondary tiles; none are fine. For no platform, only what holds for all of them."""
    if tiles is None:
        return
    if type(tiles) is not dict:
        yield Finding("secondary-tiles-not-an-object", f"{place} is an object of tiles, this is {kind(tiles)}")
        return
    if tiles and platform is not None and platform != "wns":
        yield Finding("secondary-tiles-not-wns", f"{place} are for wns only, this is {platform}")
        return
    for name, tile in tiles.items():
        here = f"{place}.{label(name)}"
        if type(tile) is not dict:
            yield Finding("secondary-tile-not-an-object", f"{here} is an object, this is {kind(tile)}")
            continue
        yield from channel_findings(tile, platform, f"{here}.")
        yield from tag_findings(tile.get("tags"), f"{here}.tags")
        yield from template_findings(tile.get("templates"), platform, f"{here}.templates")
        yield from name_findings(tile, TILE, f"{here}.")
