"""One bag a step, as public code trains: `bagloop FOLDER PRECISION EPOCHS SEED`.

CLAM-SB out of torch's modules. It is spared the files: bags come from the memory map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pathray.mil.bags import Bags
from tests.benchmarks.workers import bagtraining
from tests.benchmarks.workers.bagtraining import BAG_WEIGHT, DECAY, DROPOUT, RATE, K, Way


class PlainClam(nn.Module):
    """A bag (N, D) -> logits (1, 2), attention (1, N), hidden (N, 512)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(dim, 512), nn.ReLU(), nn.Dropout(DROPOUT))
        self.a = nn.Sequential(nn.Linear(512, 256), nn.Tanh(), nn.Dropout(DROPOUT))
        self.b = nn.Sequential(nn.Linear(512, 256), nn.Sigmoid(), nn.Dropout(DROPOUT))
        self.c = nn.Linear(256, 1)
        self.classifier = nn.Linear(512, 2)
        self.instances = nn.ModuleList(nn.Linear(512, 2) for _ in range(2))

    def forward(self, bag: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.hidden(bag)
        attention = self.c(self.a(hidden) * self.b(hidden)).T.softmax(1)
        return self.classifier(attention @ hidden), attention, hidden


class Loop(Way):
    """Adam steps after every bag."""

    def __init__(self, bags: Bags, dtype: torch.dtype) -> None:
        self.bags, self.dtype = bags, dtype
        self.model = PlainClam(bags.store.made.dim)
        self.optimiser = torch.optim.Adam(self.model.parameters(), RATE, weight_decay=DECAY)

    def epoch(self, order: Sequence[int]) -> None:
        self.model.train()
        for bag in order:
            loss = self._loss(bag)
            loss.backward()
            self.optimiser.step()
            self.optimiser.zero_grad()

    def logits(self, bag: int) -> Tensor:
        return self._forward(bag)[0].float()

    def _forward(self, bag: int) -> tuple[Tensor, Tensor, Tensor]:
        (rows,) = self.bags.runs(bag)
        features = torch.from_numpy(self.bags.store.vectors[rows]).to(self.dtype)
        low = self.dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            found: tuple[Tensor, Tensor, Tensor] = self.model(features)
        return found

    def _loss(self, bag: int) -> Tensor:
        label = bag % 2
        logits, attention, hidden = self._forward(bag)
        ends = [attention[0].topk(K, largest=largest).indices for largest in (True, False)]
        instances = self.model.instances[label](hidden[torch.cat(ends)].float())
        targets = torch.tensor([1] * K + [0] * K)
        inner = cross_entropy(instances, targets)
        bag_loss = cross_entropy(logits.float(), torch.tensor([label]))
        return BAG_WEIGHT * bag_loss + (1 - BAG_WEIGHT) * inner


if __name__ == "__main__":
    bagtraining.train(Loop)
