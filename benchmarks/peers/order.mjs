// What the programs of Node share: the order on the command line, workers that carry it out, and the line that tells of it.

export const order = JSON.parse(process.argv[2]);

// An id as long as a UUID, different for each number.
export function idOf(number) {
  return `${number.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`;
}

// Calls `put` with each number, as many in flight as were ordered, and prints what the run came to.
export async function carryOut(put) {
  const took = new Float64Array(order.records);
  let next = 0;

  async function work() {
    while (next < order.records) {
      const number = next++;
      const began = performance.now();
      await put(number);
      took[number] = performance.now() - began;
    }
  }

  const began = performance.now();
  await Promise.all(Array.from({ length: order.in_flight }, work));
  const seconds = (performance.now() - began) / 1000;
  took.sort();
  const percentile = (part) => took[Math.floor(part * (took.length - 1))] / 1000;
  console.log(JSON.stringify({ count: took.length, seconds, p50: percentile(0.5), p99: percentile(0.99) }));
}
