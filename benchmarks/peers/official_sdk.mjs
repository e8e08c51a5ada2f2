// The official SDK as its documentation has it, many calls in flight. It speaks https alone, and trusts what
// NODE_EXTRA_CA_CERTS names.

import { NotificationHubsClient } from "@azure/notification-hubs";

import { carryOut, idOf, order } from "./order.mjs";

const { host, pathname } = new URL(order.url);
const client = new NotificationHubsClient(
  `Endpoint=sb://${host}/;SharedAccessKeyName=benchmark;SharedAccessKey=benchmark`,
  pathname.slice(1),
);
const installation = JSON.parse(order.body);

await carryOut((number) => client.createOrUpdateInstallation({ ...installation, installationId: idOf(number) }));
