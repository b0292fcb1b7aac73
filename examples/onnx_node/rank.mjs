// Rank the catalog for sessions with a graph that skclip.export_onnx wrote.
//
//     npm install
//     node rank.mjs model.onnx '[["item-003", "item-019"], ["never seen"]]'

import { existsSync, readFileSync, realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";

// ONNX Runtime does not hand a graph's metadata to JavaScript. They are pairs of texts
// in field 14 of the file, a protobuf message.
function metadata(bytes) {
  const fields = function* (from, end) {
    const varint = () => {
      for (let value = 0, unit = 1; ; unit *= 128) {
        const byte = bytes[from++];
        value += (byte % 128) * unit;
        if (byte < 128) return value;
      }
    };
    while (from < end) {
      const tag = varint();
      const size = tag % 8 === 2 ? varint() : (varint(), 0); // 2: text or message
      yield [Math.floor(tag / 8), from, (from += size)];
    }
  };
  const found = {};
  for (const [field, begin, end] of fields(0, bytes.length)) {
    if (field !== 14) continue;
    const pair = [...fields(begin, end)].map(([, a, b]) => bytes.toString("utf8", a, b));
    found[pair[0]] = pair[1];
  }
  return found;
}

export async function ranker(file) {
  const bytes = readFileSync(file);
  const ids = JSON.parse(metadata(bytes).item_ids);
  const codeOf = new Map(ids.map((id, i) => [id, i + 1]));
  const session = await ort.InferenceSession.create(bytes);

  return async (sessions) => {
    const length = Math.max(1, ...sessions.map((row) => row.length));
    const codes = new BigInt64Array(sessions.length * length); // 0: padding, or unknown
    sessions.forEach((row, i) =>
      row.forEach((id, t) => (codes[i * length + t] = BigInt(codeOf.get(id) ?? 0))),
    );
    const lengths = BigInt64Array.from(sessions, (row) => BigInt(row.length));
    const { items, scores } = await session.run({
      codes: new ort.Tensor("int64", codes, [sessions.length, length]),
      lengths: new ort.Tensor("int64", lengths, [sessions.length]),
    });
    const k = items.dims[1];
    return sessions.map((_, i) => {
      const row = items.data.slice(i * k, (i + 1) * k);
      const found = Array.from(row, Number).filter((code) => code > 0);
      return {
        items: found.map((code) => ids[code - 1]),
        scores: Array.from(scores.data.slice(i * k, i * k + found.length)),
      };
    });
  };
}

const [, script, file, sessions] = process.argv;
const own = fileURLToPath(import.meta.url);
if (existsSync(script ?? "") && realpathSync(script) === own) { // run, not imported
  console.log(JSON.stringify(await (await ranker(file))(JSON.parse(sessions))));
}
