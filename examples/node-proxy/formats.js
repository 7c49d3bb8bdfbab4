// Wire formats: a minibatch is one MessagePack map, named tensors are a safetensors file.
import { decode, encode } from "@msgpack/msgpack";
import { Problem } from "./problem.js";

const ARRAYS = { uint8: Uint8Array, float32: Float32Array, int64: BigInt64Array };
const SAFETENSORS = { U8: Uint8Array, F32: Float32Array, I64: BigInt64Array };

/** Decode a valid batch: its fields, pixels as float32 in [0, 1] and labels as numbers. */
export function decodeBatch(body, { seq, shape, classes }) {
  const fields = parsed(body);
  if (fields.protocol !== 1) throw new Problem(400, "The body is not a batch", `protocol is ${fields.protocol}, not 1`);
  for (const name of ["inputs", "labels"]) {
    if (!fields[name]?.dtype) throw new Problem(400, "The body is not a batch", `it has no tensor ${name}`);
  }
  if (fields.seq !== seq) throw misfit("seq", `the body says batch ${fields.seq}, the path ${seq}`);
  const inputs = tensor("inputs", fields.inputs, ["uint8", "float32"], shape);
  const labels = Array.from(tensor("labels", fields.labels, ["int64"], shape.slice(0, 1)), Number);
  const pixels = inputs instanceof Uint8Array ? Float32Array.from(inputs, (value) => value / 255) : inputs;
  if (!pixels.every((value) => value >= 0 && value <= 1)) throw misfit("inputs", "a pixel is not in [0, 1]");
  if (!labels.every((k) => k >= 0 && k < classes)) throw misfit("labels", `a label is not from 0 to ${classes - 1}`);
  return { fields, pixels, labels };
}

/** Encode a batch with new inputs, computed at parameter version `seq`. */
export function encodeBatch(fields, pixels, report) {
  const inputs = { dtype: "float32", shape: fields.inputs.shape, data: new Uint8Array(pixels.buffer) };
  return encode({ ...fields, parameters_version: fields.seq, inputs, report });
}

/** Return the tensors of a safetensors file by name, as typed arrays. */
export function decodeTensors(file) {
  const start = 8 + Number(file.readBigUInt64LE());
  const { __metadata__, ...header } = JSON.parse(file.toString("utf8", 8, start));
  const tensors = Object.entries(header).map(
    ([
      name,
      {
        dtype,
        data_offsets: [from, to],
      },
    ]) => {
      return [name, aligned(SAFETENSORS[dtype], file.subarray(start + from, start + to))];
    },
  );
  return Object.fromEntries(tensors);
}

function parsed(body) {
  try {
    return Object(decode(body));
  } catch (error) {
    throw new Problem(400, "The body is not a batch", `it is not MessagePack: ${error.message}`);
  }
}

function tensor(name, value, dtypes, shape) {
  const { dtype, shape: found, data } = Object(value);
  if (!dtypes.includes(dtype)) throw misfit(name, `dtype is ${dtype}, not ${dtypes.join(" or ")}`);
  if (String(found) !== String(shape)) throw misfit(name, `shape is (${found}); this batch of the run has (${shape})`);
  const size = shape.reduce((product, side) => product * side, ARRAYS[dtype].BYTES_PER_ELEMENT);
  if (data?.length !== size) throw new Problem(400, "The body is not a batch", `${name} has no bin of ${size} bytes`);
  return aligned(ARRAYS[dtype], data);
}

// A typed array must start at a multiple of its element size, so the bytes are copied to an aligned buffer.
function aligned(ArrayType, bytes) {
  return new ArrayType(Uint8Array.from(bytes).buffer);
}

function misfit(field, detail) {
  return new Problem(422, `The batch's ${field} do not fit this run`, detail, { field });
}
