// undici, the client that Node's own fetch is made of, in its shortest loop.

import { readFileSync } from "node:fs";

import { Pool } from "undici";

import { carryOut, idOf, order } from "./order.mjs";

const { origin, pathname } = new URL(order.url);
const connect = order.ca_file ? { ca: readFileSync(order.ca_file) } : {};
const pool = new Pool(origin, { connections: order.in_flight, pipelining: 1, connect });
const headers = {
  Authorization: order.token,
  "Content-Type": "application/json",
  "x-ms-version": order.api_version,
};

await carryOut(async (number) => {
  const path = `${pathname}/installations/${idOf(number)}?api-version=${order.api_version}`;
  const { statusCode, body } = await pool.request({ method: "PUT", path, headers, body: order.body });
  await body.dump();
  if (statusCode !== 200) {
    throw new Error(`the answer was ${statusCode}`);
  }
});
await pool.close();
