// Logits where the GPU wrote them are what row() brings to the host.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "device/to_float32.hpp"
#include "kvcache/model.hpp"
#include "support/gpu.hpp"
#include "support/models.hpp"

namespace kvcache {
namespace {

class LogitsOnCuda : public test::OnGpu {};

TEST_F(LogitsOnCuda, TheMemoryIsThatOfTheRows) {
  ModelOptions options;
  options.require_device = Device::cuda;
  const Model model = Model::load(test::model_path(test::golden_names().front()), options);
  Sequence sequence = model.new_sequence();
  for (const std::size_t count : {3, 1, 1, 1, 1}) {  // the last ones are captured, or fused
    const Logits logits = sequence.extend(std::vector<TokenId>(count, 5), LogitsFor::all);
    const LogitsMemory memory = logits.memory();
    ASSERT_EQ(memory.device, Device::cuda);
    std::vector<std::byte> bytes(count * logits.vocab_size() * data_type_size(memory.type));
    test::check_cuda(cudaMemcpy(bytes.data(), memory.data, bytes.size(), cudaMemcpyDeviceToHost));
    for (std::size_t row = 0; row < count; ++row) {
      std::vector<float> values;
      device::to_float32(memory.type, bytes.data() + row * bytes.size() / count,
                         logits.vocab_size(), values);
      EXPECT_TRUE(std::ranges::equal(values, logits.row(row))) << "row " << row;
    }
  }
}

}  // namespace
}  // namespace kvcache
