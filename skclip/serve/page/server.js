// Requests to the server: ids in JSON, answers, and what can go wrong.

const PATIENCE = 20000; // milliseconds until a silent server counts as unreachable
const AWAY =
  "The server does not answer. Your session is kept. The list may be out of date.";

// Numbers of more than 53 bits are ids, too: as BigInt they keep all digits.

const keepDigits = (key, value, context) =>
  typeof value === "number" &&
  !Number.isSafeInteger(value) &&
  /^-?\d+$/.test(context?.source)
    ? BigInt(context.source)
    : value;
const writeDigits = (key, value) =>
  typeof value === "bigint" ? JSON.rawJSON(String(value)) : value;
export const fromJSON = (text) => JSON.parse(text, keepDigits);
export const toJSON = (value) => JSON.stringify(value, writeDigits);
export const isId = (value) => ["string", "number", "bigint"].includes(typeof value);
export const keyOf = (id) => toJSON(id); // 3 and "3" are two items

export class Failed extends Error {}
export class Refused extends Failed {}

export async function ask(path, { body, signal } = {}) {
  const limit = AbortSignal.timeout(PATIENCE);
  const request = { signal: signal ? AbortSignal.any([signal, limit]) : limit };
  if (body !== undefined) {
    request.method = "POST";
    request.headers = { "Content-Type": "application/json" };
    request.body = toJSON(body);
  }
  let response, text;
  try {
    response = await fetch(path, request);
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failed(AWAY);
  }
  if ([502, 503, 504].includes(response.status)) throw new Failed(AWAY);
  if (!response.ok) throw new Refused(detailOf(text, response.status));
  return fromJSON(text);
}

function detailOf(text, status) {
  try {
    return fromJSON(text).detail;
  } catch {
    return `The server answered with status ${status}.`; // it was not our server
  }
}
