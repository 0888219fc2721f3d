"""One worker of `test_distributed`: a few steps of a net without BatchNorm, weights to a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from test_steps import NORMALISER, ONE, make_config, make_trainer, train_step
from test_steps import net_without_batch_norm as make_net
from tiny_train import tiny_shapes

from datasets.augment import Augmentation
from datasets.loader import TrainLoader
from training.distributed import Workers


def main(folder: str, kvstore: str) -> None:
    """Train for one epoch and save what this worker has, and which images it saw."""
    workers = Workers(kvstore)
    config = make_config(model="resnet20", batch_size=16, lr=0.5, clip_grad=0.5, kvstore=kvstore)
    data = tiny_shapes("shapes")
    plain = Augmentation(crop=False, flip=False)
    loader = TrainLoader(data.train, 10, 16, 0, data.fill, workers.rank, workers.count)
    net = make_net(ONE)
    if workers.rank:  # whatever the others start from, worker 0's weights count
        net[0].weight.set_data(net[0].weight.data() * 0)
    trainer = make_trainer(net, config, ONE, workers)
    metrics, seen = [], []
    for step, (images, targets) in enumerate(loader.epoch(0, plain)):
        array = train_step(net, trainer, images, targets, NORMALISER, ONE, config, step == 0)
        workers.sum(array)
        metrics.append(array.asnumpy())
        seen.append(images)
    weights = [p.data().asnumpy() for p in net.collect_params().values()]
    name = f"{os.environ.get('DMLC_NUM_WORKER', 1)}-{workers.rank}.npz"
    facts = {"seen": np.concatenate(seen), "threads": os.environ.get("OMP_NUM_THREADS", 0)}
    np.savez(Path(folder) / name, *weights, metrics=np.array(metrics), **facts)
    workers.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
