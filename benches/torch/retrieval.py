"""The same search in faiss and in PyTorch, for `cargo bench --bench retrieval`, on two threads.

    python benches/torch/retrieval.py faiss|torch EMBEDDINGS.safetensors 1,10,100,1000

Prints seconds of the search (without reading the file), those of both threads' CPU time, recall, and the peak memory
in MiB as JSON.
"""

import json
import struct
import sys
import time

import numpy as np

THREADS = 2


def read(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))

        def tensor(name, dtype):
            begin, end = header[name]["data_offsets"]
            file.seek(8 + size + begin)
            return np.fromfile(file, dtype, (end - begin) // np.dtype(dtype).itemsize).reshape(header[name]["shape"])

        return tensor("embeddings", "<f4"), tensor("labels", "<i8")


def with_faiss(rows, labels, ks):
    """The flat index, the query dropped from its list by its index."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    start = time.perf_counter()
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    hits = np.zeros(len(ks))
    for at in range(0, len(rows), 5000):  # lists of all queries at once would take 700 MiB
        _, found = index.search(rows[at : at + 5000], max(ks) + 1)
        own = np.arange(at, at + len(found))
        same = (labels[found] == labels[own, None]) & (found != own[:, None])
        first = np.where(same.any(1), same.argmax(1), max(ks) + 1)
        first -= (found == own[:, None]).argmax(1) < first  # the query itself is no neighbour
        hits += [(first < k).sum() for k in ks]
    return time.perf_counter() - start, hits / len(rows)


def with_torch(rows, labels, ks):
    """As the paper's code does: distances in chunks, top-k, the first neighbour dropped, a loop over queries and K."""
    import torch

    torch.set_num_threads(THREADS)
    x, y = torch.from_numpy(rows), torch.from_numpy(labels)
    start = time.perf_counter()
    square = (x * x).sum(1)
    found = []
    for at in range(0, len(x), 1000):
        chunk = x[at : at + 1000]
        d = (square[at : at + 1000, None] + square[None] - 2 * chunk @ x.t()).clamp(min=0).sqrt()
        found.append(y[d.topk(max(ks) + 1, largest=False)[1][:, 1:]])
    found = torch.cat(found)
    hits = np.array([(found[:, :k] == y[:, None]).any(1).float().mean().item() for k in ks])
    return time.perf_counter() - start, hits


def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


rows, labels = read(sys.argv[2])
ks = [int(k) for k in sys.argv[3].split(",")]
start = time.process_time()
seconds, recall = {"faiss": with_faiss, "torch": with_torch}[sys.argv[1]](rows, labels, ks)
cpu = time.process_time() - start
print(json.dumps({"seconds": seconds, "cpu": cpu, "recall": list(recall), "peak_mib": peak()}))
