"""What is published of the sets that vit fetches: addresses, sizes, checksums, and how much comes out.

Sizes and sha256: tensorflow/datasets (url_checksums and checksums.tsv), torchvision's and keras's data set files,
FastAIDatasets.jl's registry (Imagewoof); the md5 of CIFAR's files are on their own page as well. None of them comes
from a copy of ours: `make check-online` compares them with what is served.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitcli.fetch.remote import Remote


@dataclass(frozen=True, kw_only=True)
class Release:
    """One size of a set, as it is published.

    Attributes:
        files: archives, which are unpacked into one folder, and files that stay as they are.
        unpacked: bytes of all that comes out, about.
        count: files that end in `suffix` which must have come out.
        suffix: in lower case.
    """

    files: tuple[Remote, ...]
    unpacked: int
    count: int
    suffix: str

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size or 0 for file in self.files)


def packed(name: str) -> bool:
    """Returns whether a file of a release is an archive; MNIST's `.gz` hold one array each and stay."""
    return name.endswith((".tgz", ".tar.gz", ".zip"))


def _at(folder: str, name: str, size: int, sha256: str) -> Remote:
    return Remote(name=name, url=f"{folder}/{name}", size=size, sha256=sha256)


_FASTAI = "https://s3.amazonaws.com/fast-ai-imageclas"
_TORONTO = "https://www.cs.toronto.edu/~kriz"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_FASHION = "https://fashion-mnist.s3.eu-central-1.amazonaws.com"
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"


def _fastai(name: str, size: int, sha256: str, *, count: int) -> Release:
    # JPEG files do not shrink in an archive: what comes out is what went in.
    return Release(
        files=(_at(_FASTAI, name, size, sha256),), unpacked=size + size // 50, count=count, suffix=".jpeg"
    )


# The archives of February 2021, which brought the file of noisy labels. Older ones had the same address.
IMAGENETTE = {
    "320": _fastai(
        "imagenette2-320.tgz",
        341_663_724,
        "569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c",
        count=13_394,
    ),
    "160": _fastai(
        "imagenette2-160.tgz",
        99_003_388,
        "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5",
        count=13_394,
    ),
    "full": _fastai(
        "imagenette2.tgz",
        1_557_161_267,
        "6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd",
        count=13_394,
    ),
}
IMAGEWOOF = {
    "320": _fastai(
        "imagewoof2-320.tgz",
        328_387_740,
        "7db6120fdb9ae079e26346f89e7b00d7f184f8137791609b97fd0405d3f92305",
        count=12_954,
    ),
    "160": _fastai(
        "imagewoof2-160.tgz",
        92_612_825,
        "b5ffa16037e07f60882434f55b7814a3d44483f2a484129f251604bc0d0f8172",
        count=12_954,
    ),
    "full": _fastai(
        "imagewoof2.tgz",
        1_343_715_595,
        "de3f58c4ea3e042cf3f8365fbc699288cfe1d8c151059040d181c221bd5a55b8",
        count=12_954,
    ),
}
# The binary versions: records of fixed length, no pickle.
CIFAR10 = Release(
    files=(
        _at(
            _TORONTO,
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    unpacked=184_400_000,
    count=6,
    suffix=".bin",
)
CIFAR100 = Release(
    files=(
        _at(
            _TORONTO,
            "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
    unpacked=184_500_000,
    count=2,
    suffix=".bin",
)
MNIST = Release(
    files=(
        _at(
            _MNIST,
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        _at(
            _MNIST,
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        _at(
            _MNIST,
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        _at(
            _MNIST,
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    unpacked=11_600_000,
    count=4,
    suffix=".gz",
)
FASHION_MNIST = Release(
    files=(
        _at(
            _FASHION,
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        _at(
            _FASHION,
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        _at(
            _FASHION,
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        _at(
            _FASHION,
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    unpacked=30_900_000,
    count=4,
    suffix=".gz",
)
PETS = Release(
    files=(
        _at(
            f"{_OXFORD}/pets/data",
            "images.tar.gz",
            791_918_971,
            "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
        ),
        _at(
            f"{_OXFORD}/pets/data",
            "annotations.tar.gz",
            19_173_078,
            "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
        ),
    ),
    unpacked=850_000_000,
    count=7_390,
    suffix=".jpg",
)
FLOWERS102 = Release(
    files=(
        _at(
            f"{_OXFORD}/flowers/102",
            "102flowers.tgz",
            344_862_509,
            "2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
        ),
        _at(
            f"{_OXFORD}/flowers/102",
            "imagelabels.mat",
            502,
            "4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
        ),
        _at(
            f"{_OXFORD}/flowers/102",
            "setid.mat",
            14_989,
            "46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
        ),
    ),
    unpacked=352_000_000,
    count=8_189,
    suffix=".jpg",
)
FOOD101 = Release(
    files=(
        _at(
            "https://data.vision.ee.ethz.ch/cvl",
            "food-101.tar.gz",
            4_996_278_331,
            "d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
        ),
    ),
    unpacked=5_100_000_000,
    count=101_000,
    suffix=".jpg",
)
STL10 = Release(
    files=(
        _at(
            "https://ai.stanford.edu/~acoates/stl10",
            "stl10_binary.tar.gz",
            2_640_397_119,
            "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
        ),
    ),
    unpacked=3_130_000_000,
    count=5,
    suffix=".bin",
)
TINY_IMAGENET = Release(
    files=(
        _at(
            "https://cs231n.stanford.edu",
            "tiny-imagenet-200.zip",
            248_100_043,
            "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
        ),
    ),
    unpacked=300_000_000,
    count=120_000,
    suffix=".jpeg",
)
