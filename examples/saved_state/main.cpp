// A prefix that is computed once and loaded ever after. Usage: example_saved_state MODEL_DIR
#include <cstdio>
#include <filesystem>
#include <kvcache/kvcache.hpp>
#include <vector>

namespace {

using kvcache::TokenId;

int run(const char* directory) {
  const kvcache::Model model = kvcache::Model::load(directory);
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / "kvcache-example.state";

  const std::vector<TokenId> prefix{3, 1, 4, 1, 5, 9, 2, 6};
  kvcache::Sequence computed = model.new_sequence();
  computed.extend(prefix);
  computed.save(path);  // whole or not at all
  std::printf("%zu tokens, %zu bytes\n", prefix.size(),
              static_cast<std::size_t>(std::filesystem::file_size(path)));

  // In another process, on another day: the same model is needed, the file says which.
  kvcache::Sequence loaded = model.load_sequence(path);
  const TokenId next = 5;
  const TokenId expected = computed.extend({&next, 1}).argmax();
  const TokenId found = loaded.extend({&next, 1}).argmax();
  std::printf("next token %lld, from the loaded state %lld\n", static_cast<long long>(expected),
              static_cast<long long>(found));

  // What is no whole state is refused.
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  bool refused = false;
  try {
    (void)model.load_sequence(path);
  } catch (const kvcache::Error& error) {
    refused = error.code() == kvcache::ErrorCode::state_invalid;
    std::printf("%s\n", error.what());
  }
  std::filesystem::remove(path);
  return found == expected && refused ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_saved_state MODEL_DIR\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const kvcache::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
