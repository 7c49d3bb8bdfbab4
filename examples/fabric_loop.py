"""A defender in a Lightning Fabric loop, on the tampered digits of training_loop.py.

python examples/fabric_loop.py
"""

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training_loop import EPSILON, digits, tampered

from midstream import Defender


def train(fabric: Fabric, *, defended: bool, epochs: int = 20) -> float:
    """Return the test accuracy of a model trained on tampered images."""
    torch.manual_seed(0)
    trusted, (images, labels), tested = digits()
    data = DataLoader(TensorDataset(tampered(images, labels), labels), batch_size=100, shuffle=True)
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 6 * 6, 10))
    model, optimizer = fabric.setup(network, torch.optim.Adam(network.parameters(), lr=0.003))
    loader = fabric.setup_dataloaders(data)
    # The defender uses the bare network; Fabric's wrapper, for example for precision, affects only the step.
    defender = Defender(network, *fabric.to_device(trusted), epsilon=EPSILON)
    for _ in range(epochs):
        for batch, batch_labels in loader:
            inputs = defender(batch, batch_labels) if defended else batch
            optimizer.zero_grad()
            fabric.backward(nn.functional.cross_entropy(model(inputs), batch_labels))
            optimizer.step()
    test_images, test_labels = fabric.to_device(tested)
    with torch.no_grad():
        return float((model(test_images).argmax(1) == test_labels).float().mean())


if __name__ == "__main__":
    fabric = Fabric(accelerator="auto", devices=1)
    fabric.launch()
    print(f"attacked  {train(fabric, defended=False):.3f}")
    print(f"defended  {train(fabric, defended=True):.3f}")
