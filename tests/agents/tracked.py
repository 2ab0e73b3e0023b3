"""What an offline run of Weights & Biases has written."""

import json
import struct


def offline_records(folder):
    """The records in the one `.wandb` file under `folder`: a LevelDB log of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.rglob("*.wandb")
    data, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def entries(items):
    return {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
