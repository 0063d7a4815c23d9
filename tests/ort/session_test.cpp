// Where the weights of a loaded model lie.
#include "ort/session.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/file_lease.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"
#include "weights/weight_pages.hpp"

namespace kvcache {
namespace {

constexpr const char* kWeightFile = "gpt2_with_cache.onnx.data";

/// KiB of the process's mappings of a file that are in memory.
std::size_t resident_kib(const test::fs::path& file) {
  std::ifstream smaps("/proc/self/smaps");
  std::size_t sum = 0;
  bool of_file = false;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (first.find('-') != std::string::npos && first.back() != ':') {
      of_file = line.ends_with(file.string());
    } else if (of_file && first == "Rss:") {
      std::size_t kib = 0;
      words >> kib;
      sum += kib;
    }
  }
  return sum;
}

class Weights : public testing::Test {
 protected:
  void SetUp() override {
    if (test::models_dtype() == "bfloat16") {
      GTEST_SKIP() << "ONNX Runtime runs no bfloat16 model on the CPU";
    }
    test::fs::copy(test::model_path(test::golden_names().front()), model_,
                   test::fs::copy_options::recursive);
  }

  [[nodiscard]] Model load(WeightMemory memory, std::size_t runs_before_move = 64) const {
    ModelOptions options;
    options.require_device = Device::cpu;
    options.weight_memory = memory;
    options.runs_before_move = runs_before_move;
    return Model::load(model_, options);
  }

  [[nodiscard]] bool can_be_held() const {
    const weights::OpenFile file(model_ / kWeightFile);
    return FileLease(file.descriptor(), [] {}).held();
  }

  /// Logits of some runs, the last of them recorded.
  static std::vector<float> run(const Model& model) {
    Sequence sequence = model.new_sequence();
    std::vector<float> logits;
    for (const TokenId token : {1, 2, 3, 4, 5}) {
      const Logits found = sequence.extend({{token}});
      logits.insert(logits.end(), found.last().begin(), found.last().end());
    }
    return logits;
  }

  test::TemporaryDirectory directory_;
  test::fs::path model_ = directory_.path() / "model";
};

TEST_F(Weights, NoPageOfTheFileIsReadOnceTheyHaveMoved) {
  for (const WeightMemory memory :
       {WeightMemory::huge_pages, WeightMemory::mapped, WeightMemory::copied}) {
    const Model model = load(memory);
    const std::vector<float> before = run(model);
    ASSERT_TRUE(model.move_weights());
    EXPECT_EQ(run(model), before);
    EXPECT_EQ(resident_kib(model_ / kWeightFile), 0U) << "biases and the like included";
  }
}

TEST_F(Weights, MoveAfterTheRunsAskedFor) {
  const Model model = load(WeightMemory::huge_pages, 7);
  run(model);
  const std::size_t mapped = resident_kib(model_ / kWeightFile);
  if (mapped == 0) {
    GTEST_SKIP() << "this file cannot be held: it was read during the load";
  }
  run(model);  // more than 7
  for (int i = 0; i < 1000 && resident_kib(model_ / kWeightFile) > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(resident_kib(model_ / kWeightFile), 0U);
}

TEST_F(Weights, OutliveTheFile) {
  for (const WeightMemory memory :
       {WeightMemory::huge_pages, WeightMemory::copied, WeightMemory::mapped}) {
    if (memory == WeightMemory::mapped && !can_be_held()) {
      GTEST_SKIP() << "this file system gives no leases, and without one mapped files must stay";
    }
    const Model model = load(memory);
    const std::vector<float> before = run(model);
    const std::string bytes(test::fs::file_size(model_ / kWeightFile), 'x');
    const test::fs::path copy = directory_.path() / "copy";
    test::fs::copy(model_ / kWeightFile, copy);
    std::ofstream(model_ / kWeightFile) << bytes;  // waits while the weights are mapped
    EXPECT_EQ(run(model), before);
    test::fs::resize_file(model_ / kWeightFile, 0);
    EXPECT_EQ(run(model), before);
    test::fs::copy(copy, model_ / kWeightFile, test::fs::copy_options::overwrite_existing);
    test::fs::remove(copy);
  }
}

TEST_F(Weights, AreReadWhereSomebodyHasTheFileOpenForWriting) {
  const std::vector<float> expected = run(load(WeightMemory::copied));
  const std::ofstream writer(model_ / kWeightFile, std::ios::app);
  const Model model = load(WeightMemory::huge_pages);
  EXPECT_EQ(resident_kib(model_ / kWeightFile), 0U);
  test::fs::resize_file(model_ / kWeightFile, 0);
  EXPECT_EQ(run(model), expected);
}

}  // namespace
}  // namespace kvcache
