#include "text/load.hpp"

#include "base/input_file.hpp"
#include "base/throw_error.hpp"
#include "text/read_tokenizer.hpp"

namespace kvcache::text {
namespace {

constexpr std::size_t kLargestFile = std::size_t{256} << 20U;  // the largest known have 34 MB

}  // namespace

Pipeline load_tokenizer(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(path)) {
    file = path / "tokenizer.json";
    const auto vocab = path / "vocab.json";
    const auto merges = path / "merges.txt";
    if (!std::filesystem::exists(file) && std::filesystem::exists(vocab) &&
        std::filesystem::exists(merges)) {
      return read_vocab_and_merges(read_file(vocab, kLargestFile), vocab.string(),
                                   read_file(merges, kLargestFile), merges.string());
    }
  }
  if (!std::filesystem::exists(file)) {
    throw_error(ErrorCode::model_not_found,
                "the tokenizer was not loaded: {} does not exist{}; export the model with its "
                "tokenizer, or give the right path",
                file.string(),
                file == path ? "" : ", and neither do vocab.json and merges.txt beside it");
  }
  return read_tokenizer_json(read_file(file, kLargestFile), file.string());
}

}  // namespace kvcache::text
