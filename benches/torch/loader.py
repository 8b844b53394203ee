"""The loading of `cargo bench --bench loader` in torchvision, on the same files: `loader.py FOLDER`."""

import resource
import sys
import time
from pathlib import Path

import torch
from torchvision import datasets, transforms as T

torch.set_num_threads(1)
BATCH, EPOCHS = 32, 6


def processor_time():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def measure(name, folder, transform, workers):
    data = datasets.ImageFolder(folder, transform)
    data.samples = [s for s in data.samples if "unused" not in s[0]] * EPOCHS
    best = best_cpu = 0
    for _ in range(3):
        start, cpu = time.perf_counter(), processor_time()
        loader = torch.utils.data.DataLoader(data, BATCH, num_workers=workers)
        for _ in loader:
            pass
        del loader  # waits for the workers, whose time then counts
        n = len(data.samples)
        best = max(best, n / (time.perf_counter() - start))
        best_cpu = max(best_cpu, n / (processor_time() - cpu))
    print(f"  {name:34} {workers} workers {best:>8.0f} pictures/s {best_cpu:>8.0f} per core", flush=True)


normalised = [T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
crop, centre = [T.RandomResizedCrop(224), T.RandomHorizontalFlip()], [T.Resize(256), T.CenterCrop(224)]
folder = Path(sys.argv[1])
print("torchvision's ImageFolder and DataLoader, PyTorch", torch.__version__)
for workers in (1, 2):
    measure("train", folder, T.Compose(crop + normalised), workers)
    measure("evaluation", folder, T.Compose(centre + normalised), workers)
    measure("train, to bytes", folder, T.Compose(crop + [T.PILToTensor()]), workers)
    measure("evaluation, to bytes", folder, T.Compose(centre + [T.PILToTensor()]), workers)
