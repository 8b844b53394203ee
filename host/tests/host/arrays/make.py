"""Makes the files of ../metrics.rs: one set of embeddings and labels, as other systems write them."""

import collections
import io
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
rows = np.array([0, 0, 1, 0, 5, 0, 5.5, 0, 1.6, 0, 9, 0], "f4").reshape(6, 2)
labels = np.array([7, 7, 8, 8, 8, 9])
names = ["cat dog", "cat dog", "bée", "bée", "bée", "x"]

np.save(HERE / "f4.npy", rows)
np.save(HERE / "f8_big_endian.npy", rows.astype(">f8"))
np.save(HERE / "f8_fortran.npy", np.asfortranarray(rows.astype("f8")))
np.save(HERE / "f2.npy", (4 * rows).astype("f2"))
for kind in ["i1", "i2", "i8", "u1", "u2", "u4"]:
    np.save(HERE / f"{kind}.npy", labels.astype(kind))
np.save(HERE / "i4_big_endian.npy", labels.astype(">i4"))
np.save(HERE / "u8.npy", np.array([7, 7, 2**63, 2**63, 2**63, 2**64 - 1], "u8"))
np.save(HERE / "column.npy", labels[:, None])
np.save(HERE / "names.npy", np.array(names))
np.save(HERE / "bytes.npy", np.array([name.encode() for name in names]))
np.savez(HERE / "both.npz", embeddings=rows, labels=labels)
np.savez_compressed(HERE / "compressed.npz", embeddings=rows.astype("f8"), labels=labels.astype("u1"))
(HERE / "names.txt").write_bytes("\ufeff".encode() + "\r\n".join(names).encode() + b"\r\n\r\n")

table = [f"{i},pictures/{i}.jpg,{x:g},{y:g},{name}" for i, ((x, y), name) in enumerate(zip(rows, names))]
(HERE / "table.csv").write_text("\n".join([",path,x,y,label", *table]) + "\n", "utf-8")
(HERE / "table.tsv").write_text("\n".join([",path,x,y,label", *table]).replace(",", "\t") + "\n", "utf-8")
(HERE / "headless.csv").write_text("\n".join(",".join(row.split(",")[2:]) for row in table), "utf-8")
(HERE / "labels.csv").write_text("\n".join(["class", *names]) + "\n", "utf-8")

# What torch.save({"embeddings": rows, "labels": labels}, "both.pt") writes, without torch.
torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")


def _rebuild_tensor_v2():
    pass


_rebuild_tensor_v2.__module__ = "torch._utils"
utils._rebuild_tensor_v2 = _rebuild_tensor_v2
for name in ["FloatStorage", "LongStorage"]:
    setattr(torch, name, type(name, (), {"__module__": "torch"}))
sys.modules |= {"torch": torch, "torch._utils": utils}


class Tensor:
    def __init__(self, storage, key, array):
        self.storage, self.key, self.array = storage, key, array

    def __reduce__(self):
        stride = tuple(s // self.array.itemsize for s in self.array.strides)
        shape, hooks = self.array.shape, collections.OrderedDict()
        return _rebuild_tensor_v2, (Storage(self), 0, shape, stride, False, hooks)


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle._Pickler):
    def persistent_id(self, item):
        if isinstance(item, Storage):
            tensor = item.tensor
            return "storage", tensor.storage, tensor.key, "cpu", tensor.array.size
        return None


tensors = {
    "embeddings": Tensor(torch.FloatStorage, "0", rows),
    "labels": Tensor(torch.LongStorage, "1", labels.astype("i8")),
}
out = io.BytesIO()
Pickler(out, 2).dump(tensors)
with zipfile.ZipFile(HERE / "both.pt", "w", zipfile.ZIP_STORED) as file:
    file.writestr("both/data.pkl", out.getvalue())
    file.writestr("both/byteorder", "little")
    file.writestr("both/data/0", rows.tobytes())
    file.writestr("both/data/1", labels.astype("i8").tobytes())
    file.writestr("both/version", "3\n")
