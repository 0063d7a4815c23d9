// config.json and its list of files. What is accepted must be safe to compute with.
#include <cstdlib>

#include "fuzz/expect_only_errors.hpp"
#include "fuzz/json_mutator.hpp"
#include "model/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvcache;
  test::expect_only_errors([&] {
    const model::Config config = model::parse_config(test::as_text(data, size), "m/config.json");
    const ModelInfo& info = config.info;
    const std::size_t limit = std::size_t{1} << 47;
    bool safe = info.num_layers > 0 && info.vocab_size > 0 && info.max_seq_len > 0 &&
                info.cache_bytes_per_token() > 0 &&
                info.cache_bytes_per_token() <= limit / info.max_seq_len;
    for (const model::ModelFile& file : config.files) {
      safe = safe && (config.directory / file.name).lexically_normal().parent_path() == "m";
    }
    if (!safe) {
      std::abort();
    }
  });
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  return kvcache::test::JsonMutator(seed).mutate(data, size, most);
}
