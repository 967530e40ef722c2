"""What is known of published data sets: their files, hashes, classes and terms."""

from __future__ import annotations

import dataclasses
import functools
import string
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from ._cifar import cifar_parts
from ._content import Content
from ._dataset import Part
from ._idx import emnist_parts, idx_parts
from ._svhn import svhn_parts


@dataclasses.dataclass(frozen=True)
class KnownFile:
    """A file, and the md5 it has.

    Attributes:
        name: As it is published.
        published: md5 of it as it is published.
        content: md5 of what a `.gz` holds, where that is known: then any compression of it will do.
    """

    name: str
    published: str
    content: str | None = None


@dataclasses.dataclass(frozen=True)
class Known:
    """A published data set.

    Attributes:
        name: What `load_data` calls it.
        folders: Where its files lie under a folder of data: torchvision's place first.
        files: What `parts` reads, in its order.
        archive: The published file that holds them all, with its place under a folder of data;
            None where each is published alone.
        mirrors: Addresses that the name of a published file is appended to.
        parts: Makes the splits of the files.
        classes: Class names.
        licence: Terms of use, as far as known.
        citation: What to cite.
    """

    name: str
    folders: tuple[str, ...]
    files: tuple[KnownFile, ...]
    mirrors: tuple[str, ...]
    parts: Callable[[Sequence[Content]], Mapping[str, Part]]
    classes: tuple[str, ...]
    licence: str
    citation: str
    archive: KnownFile | None = None


MNIST = Known(
    name="mnist",
    folders=("MNIST/raw",),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=(
        KnownFile("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                  "6bbc9ace898e44ae57da46a324031adb"),
        KnownFile("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432",
                  "a25bea736e30d166cdddb491f175f624"),
        KnownFile("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3",
                  "2646ac647ad5339dbf082846283269ea"),
        KnownFile("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c",
                  "27ae3e4e09519cfbb04c329615203637"),
    ),
    parts=idx_parts,
    classes=tuple(string.digits),
    licence="unknown (Yann LeCun, Corinna Cortes, Christopher Burges)",
    citation="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document "
    "recognition. Proceedings of the IEEE 86 (1998)",
)  # fmt: skip

FASHION_MNIST = Known(
    name="fashion-mnist",
    folders=("FashionMNIST/raw",),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    files=(
        KnownFile("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                  "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        KnownFile("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe",
                  "9018921c3c673c538a1fc5bad174d6f9"),
        KnownFile("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79",
                  "8181f5470baa50b63fa0f6fddb340f0a"),
        KnownFile("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310",
                  "15d484375f8d13e6eb1aabb0c3f46965"),
    ),
    parts=idx_parts,
    classes=("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker",
             "bag", "ankle boot"),
    licence="MIT (Zalando SE)",
    citation="Xiao, Rasul, Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking "
    "machine learning algorithms. arXiv:1708.07747 (2017)",
)  # fmt: skip

KMNIST = Known(
    name="kmnist",
    folders=("KMNIST/raw",),
    mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    files=(
        KnownFile("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        KnownFile("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        KnownFile("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        KnownFile("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ),
    parts=idx_parts,
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    licence="CC BY-SA 4.0 (National Institute of Japanese Literature, Center for Open Data in the "
    "Humanities)",
    citation="Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto, Ha: Deep learning for classical "
    "Japanese literature. arXiv:1812.01718 (2018)",
)


def _emnist(kind: str, classes: str, md5: tuple[str, str, str, str]) -> Known:
    """One of the six cuts of EMNIST; md5 of the published training and test files."""
    names = [
        f"emnist-{kind}-{split}-{what}-ubyte.gz"
        for split in ("train", "test")
        for what in ("images-idx3", "labels-idx1")
    ]
    return Known(
        name=f"emnist-{kind}",
        folders=("EMNIST/raw", "EMNIST/raw/gzip"),
        mirrors=("https://biometrics.nist.gov/cs_links/EMNIST/",),
        archive=KnownFile("EMNIST/raw/gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e"),
        files=tuple(KnownFile(*pair) for pair in zip(names, md5, strict=True)),
        parts=functools.partial(emnist_parts, first=1 if kind == "letters" else 0),
        classes=tuple(classes),
        licence="unknown (derived from NIST Special Database 19)",
        citation="Cohen, Afshar, Tapson, van Schaik: EMNIST: extending MNIST to handwritten "
        "letters. International Joint Conference on Neural Networks (2017)",
    )


# Lower-case letters that look like their capitals are merged with them in two of the cuts.
_ALL = string.digits + string.ascii_uppercase + string.ascii_lowercase
_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"

_EMNIST = (
    _emnist("balanced", _MERGED, (
        "4041b0d6f15785d3fa35263901b5496b", "7a35cc7b2b7ee7671eddf028570fbd20",
        "6818d20fe2ce1880476f747bbc80b22b", "acd3694070dcbf620e36670519d4b32f")),
    _emnist("byclass", _ALL, (
        "712dda0bd6f00690f32236ae4325c377", "ee299a3ee5faf5c31e9406763eae7e43",
        "1435209e34070a9002867a9ab50160d7", "7a0f934bd176c798ecba96b36fda6657")),
    _emnist("bymerge", _MERGED, (
        "4a792d4df261d7e1ba27979573bf53f3", "491be69ef99e1ab1f5b7f9ccc908bb26",
        "8eb5d34c91f1759a55831c37ec2a283f", "c13f4cd5211cdba1b8fa992dae2be992")),
    _emnist("digits", string.digits, (
        "d2662ecdc47895a6bbfce25de9e9a677", "2223fcfee618ac9c89ef20b6e48bcf9e",
        "a159b8b3bd6ab4ed4793c1cb71a2f5cc", "8afde66ea51d865689083ba6bb779fac")),
    _emnist("letters", string.ascii_lowercase, (
        "8795078f199c478165fe18db82625747", "c16de4f1848ddcdddd39ab65d2a7be52",
        "382093a19703f68edac6d01b8dfdfcad", "d4108920cd86601ec7689a97f2de7f59")),
    _emnist("mnist", string.digits, (
        "3663598a39195d030895b6304abb5065", "6c092f03c9bb63e678f80f8bc605fe37",
        "fb51b6430fc4dd67deaada1bf25d4524", "ae7f6be798a9a5d5f2bd32e078a402dd")),
)  # fmt: skip

_CIFAR_MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
_CIFAR_LICENCE = "unknown (Alex Krizhevsky, Vinod Nair, Geoffrey Hinton)"
_CIFAR_CITATION = (
    "Krizhevsky: Learning multiple layers of features from tiny images. University of Toronto "
    "(2009)"
)

CIFAR_10 = Known(
    name="cifar-10",
    folders=("cifar-10-batches-py",),
    mirrors=_CIFAR_MIRRORS,
    archive=KnownFile("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    files=(
        KnownFile("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        KnownFile("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        KnownFile("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        KnownFile("data_batch_4", "634d18415352ddfa80567beed471001a"),
        KnownFile("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
        KnownFile("test_batch", "40351d587109b95175f43aff81a1287e"),
    ),
    parts=functools.partial(cifar_parts, labels="labels"),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
             "truck"),
    licence=_CIFAR_LICENCE,
    citation=_CIFAR_CITATION,
)  # fmt: skip

_FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_COARSE = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things
    large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals
    non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""

CIFAR_100 = Known(
    name="cifar-100",
    folders=("cifar-100-python",),
    mirrors=_CIFAR_MIRRORS,
    archive=KnownFile("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    files=(
        KnownFile("train", "16019d7e3df5f24257cddd939b257f8d"),
        KnownFile("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
    parts=functools.partial(cifar_parts, labels="fine_labels"),
    classes=tuple(_FINE.split()),
    licence=_CIFAR_LICENCE,
    citation=_CIFAR_CITATION,
)

CIFAR_100_COARSE = dataclasses.replace(
    CIFAR_100,
    name="cifar-100-coarse",
    parts=functools.partial(cifar_parts, labels="coarse_labels"),
    classes=tuple(_COARSE.split()),
)

SVHN = Known(
    name="svhn",
    folders=("SVHN", "svhn", "."),
    mirrors=("http://ufldl.stanford.edu/housenumbers/",),
    files=(
        KnownFile("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
        KnownFile("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
    ),
    parts=svhn_parts,
    classes=tuple(string.digits),
    licence="for non-commercial use only (Stanford University, Google)",
    citation="Netzer, Wang, Coates, Bissacco, Wu, Ng: Reading digits in natural images with "
    "unsupervised feature learning. NIPS workshop on deep learning (2011)",
)

KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        known.name: known
        for known in (
            MNIST, FASHION_MNIST, KMNIST, *_EMNIST, CIFAR_10, CIFAR_100, CIFAR_100_COARSE, SVHN,
        )
    }
)  # fmt: skip
