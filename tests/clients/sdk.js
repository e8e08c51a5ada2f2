// The official SDK as a program uses it: an order a line on standard input, what came of it a line on standard output.
//
// An order names an operation of the client and its arguments; `make` is the SDK's function that makes the first of them
// out of what is given. A list is walked to its end, and told page by page.

import { createInterface } from "node:readline";

import * as hubs from "@azure/notification-hubs";

const client = new hubs.NotificationHubsClient(process.env.BULKLOAD_CONNECTION_STRING, process.argv[2]);

async function carryOut({ operation, make, values }) {
  const [first, ...others] = values;
  const result = client[operation](...(make ? [hubs[make](first), ...others] : values));
  return result.byPage ? pagesOf(result.byPage()) : result;
}

async function pagesOf(iterator) {
  const pages = [];
  for await (const page of iterator) {
    pages.push(page);
  }
  return pages;
}

async function answerTo(order) {
  try {
    return { value: (await carryOut(order)) ?? null };
  } catch (error) {
    return { refused: { status: error.statusCode ?? null, message: error.message } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answerTo(JSON.parse(line)))}\n`);
}
