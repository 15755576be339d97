#include "nibble/data/public_files.h"

namespace nibble::data {
namespace {

// Folders on the web; a file's URL is folder + name.
using Folders = std::vector<std::string>;
const Folders kMnist = {"https://ossci-datasets.s3.amazonaws.com/mnist/",
                        "https://storage.googleapis.com/cvdf-datasets/mnist/"};
const Folders kFashion = {"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                          "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"};
const Folders kCifar = {"https://www.cs.toronto.edu/~kriz/"};
const Folders kUci = {"https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/"};

struct Row {
  std::string dataset, name;
  const Folders& folders;
  std::vector<FileVersion> versions;
};

const std::vector<Row>& rows() {
  // clang-format off
  static const std::vector<Row> table = {
      {"mnist", "train-images-idx3-ubyte.gz", kMnist,
       {{9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"}}},
      {"mnist", "train-labels-idx1-ubyte.gz", kMnist,
       {{28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"}}},
      {"mnist", "t10k-images-idx3-ubyte.gz", kMnist,
       {{1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"}}},
      {"mnist", "t10k-labels-idx1-ubyte.gz", kMnist,
       {{4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"}}},
      {"fashion_mnist", "train-images-idx3-ubyte.gz", kFashion,
       {{26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"}}},
      {"fashion_mnist", "train-labels-idx1-ubyte.gz", kFashion,
       {{29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"}}},
      {"fashion_mnist", "t10k-images-idx3-ubyte.gz", kFashion,
       {{4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"}}},
      {"fashion_mnist", "t10k-labels-idx1-ubyte.gz", kFashion,
       {{5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"}}},
      // The second version is a lossless repacking with the first 1,000 test images, found on mirrors.
      {"cifar10", "cifar-10-binary.tar.gz", kCifar,
       {{170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        {144135468, "9eb9c0183e4e204a810826c4c7ccda7125e867fc98bb3651fd13a7c8a1a381dd"}}},
      {"cifar100", "cifar-100-binary.tar.gz", kCifar,
       {{168513733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"}}},
      {"digits", "optdigits.tra", kUci,
       {{563639, "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd"}}},
      {"digits", "optdigits.tes", kUci,
       {{264712, "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"}}},
  };
  // clang-format on
  return table;
}

}  // namespace

std::vector<PublicFile> public_files(std::string_view dataset) {
  std::vector<PublicFile> files;
  for (const Row& row : rows()) {
    if (row.dataset != dataset) continue;
    PublicFile file{row.dataset, row.name, {}, row.versions};
    for (const std::string& folder : row.folders) file.urls.push_back(folder + row.name);
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace nibble::data
