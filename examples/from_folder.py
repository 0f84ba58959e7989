"""From a folder of pictures to a prediction: train, collapse, save, predict, and export to ONNX.

    pip install '.[bench]'
    python examples/from_folder.py --out from_folder

The script first writes a folder of handwritten digits, 28x28 pixels, in the layout of torchvision's ``ImageFolder``:
``training/CLASS/*.png`` and ``held_out/CLASS/*.png``. Replace it by a folder of your own pictures; shape and classes
come from the data.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import gpu
from gpu.cli.main import main as linalg_cnn
from gpu.predict import Predictor

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Turning, resizing and cropping change a picture before it is an array of pixels, and stay outside of the matrix. For
# pictures of several sizes, add transforms.Resize and transforms.CenterCrop here, and --resize to linalg-cnn predict.
AS_PICTURE = transforms.Grayscale()
# Scaling and normalisation are affine: collapse folds them into W and B, which then take the bytes of the pixels.
PREPARE = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.13,), (0.31,))])


def write_pictures(folder: Path, per_class: int) -> None:
    """Write a folder of pictures with a subfolder for each class, to train on and, a third of the number, held out."""
    counts = {"training": per_class, "held_out": per_class // 3}
    for (part, count), digits in zip(counts.items(), gpu.load_digits(), strict=True):
        for digit, name in enumerate(NAMES):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(digits.images[digits.labels == digit][:count]):
                Image.fromarray(image[0].numpy()).save(folder / part / name / f"{number:03}.png")


def make_network(in_shape: Sequence[int], classes: int) -> nn.Module:
    """Return a network without nonlinearities: no ReLU, and average pooling instead of max pooling."""
    body = nn.Sequential(
        nn.Conv2d(in_shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.AvgPool2d(2), nn.Flatten()
    )
    features = body(torch.zeros(2, *in_shape)).shape[1]
    return nn.Sequential(body, nn.Linear(features, classes))


def train_as_usual(model: nn.Module, pictures: Path, epochs: int) -> None:
    """Train with a loop as it is in every tutorial of torch."""
    dataset = ImageFolder(pictures / "training", transforms.Compose([AS_PICTURE, PREPARE]))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for images, labels in DataLoader(dataset, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
    model.eval()  # collapse refuses batch normalisation in training mode, which mixes the samples of a batch


def read_bytes(folder: Path) -> gpu.LabelledImages:
    """Return the pictures of a folder as uint8 tensors, read once into memory."""
    return gpu.LabelledImages.from_dataset(
        ImageFolder(folder, transforms.Compose([AS_PICTURE, transforms.PILToTensor()]))
    )


def export_onnx(module: nn.Module, example: torch.Tensor, path: Path) -> Any:
    """Write a network as an ONNX file for batches of any size, and return a session that runs it."""
    torch.onnx.export(
        module, (example,), str(path), dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False
    )
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def main(argv: Sequence[str] | None = None) -> None:
    """Run every step, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("from_folder"), help="folder for pictures and results")
    parser.add_argument("--per-class", type=int, default=60, help="number of pictures of each class to train on")
    parser.add_argument("--epochs", type=int, default=10, help="number of passes over the training pictures")
    options = parser.parse_args(argv)
    pictures = options.out / "pictures"
    torch.manual_seed(0)

    write_pictures(pictures, options.per_class)
    training, held_out = read_bytes(pictures / "training"), read_bytes(pictures / "held_out")
    classes = ImageFolder(pictures / "training").classes  # in the order of their numbers, which is that of the alphabet
    print(
        f"{len(training)} pictures to train on, {len(held_out)} held out, {training.in_shape}, {len(classes)} classes"
    )

    # Train: with a loop of one's own, or with gpu.train. What a network expects of its pixels goes along with it.
    own, ours = (make_network(training.in_shape, len(classes)) for _ in range(2))
    train_as_usual(own, pictures, options.epochs)
    gpu.train(ours, training, held_out, epochs=options.epochs, batch_size=32, learning_rate=2e-3, progress=False)
    trained = {"own loop": (own, PREPARE), "gpu.train": (ours, transforms.ToTensor())}  # gpu.train divides by 255

    # Collapse: one matrix that takes the bytes of a picture. The accuracy is measured on the held-out pictures.
    for name, (model, preprocess) in trained.items():
        collapsed = gpu.collapse(
            model,
            training.in_shape,
            preprocess=preprocess,
            class_names=classes,
            inputs=held_out.images,
            labels=held_out.labels,
        )
        print(f"\n{name}\n{collapsed.report}")

    # Save, and predict: in Python, and on the command line.
    file = options.out / "collapsed.safetensors"
    collapsed.save(file)
    predicted = Predictor(collapsed).classes(held_out.images)
    print(f"\nPredictor: {int((predicted == held_out.labels).sum())} of {len(held_out)} right")
    print(f"$ linalg-cnn predict {file} {pictures / 'held_out' / 'seven'}")
    linalg_cnn(["predict", str(file), str(pictures / "held_out" / "seven")])

    # Export: the same matrix in ONNX, from floats 0 to 255 to scores.
    pixels = held_out.images.float()
    session = export_onnx(collapsed.module, pixels[:2], options.out / "collapsed.onnx")
    (scores,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    same = int((torch.from_numpy(scores).argmax(1) == predicted).sum())
    print(f"ONNX: the same class for {same} of {len(held_out)} pictures")


if __name__ == "__main__":
    main()
