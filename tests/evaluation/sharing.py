"""An evaluation that other processes can run; the models and threats are theirs to rebuild."""

import torch
from torch import nn

from brolly import APGD, Linf, Square, evaluate, load_data


def main(file: str, processes: str, rank: str = "", meeting: str = "") -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load_data("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = data.train.scaled(data.train.inputs), data.train.labels
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    if rank:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2
        )
    threat = Linf(0.06)
    mine = [data.test.inputs, data.test.labels, *model.parameters()]
    places = [tensor.data_ptr() for tensor in mine]
    evaluate(
        model, data.test, threat, attacks=[APGD(threat, steps=10), Square(threat, queries=50)],
        examples=200, batch_size=20, curve_examples=0, checks="", processes=int(processes),
        save_to=file,
    )  # fmt: skip
    assert places == [
        tensor.data_ptr() for tensor in mine
    ]  # or views of them would hang in the air
    if rank:
        torch.distributed.destroy_process_group()
