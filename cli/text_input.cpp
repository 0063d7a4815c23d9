#include "text_input.hpp"

#include <unistd.h>

#include <system_error>

#include "arguments.hpp"
#include "base/input_file.hpp"
#include "base/throw_error.hpp"
#include "program/exit_status.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kLargestText = std::size_t{1} << 30U;

}  // namespace

std::string read_text(const std::filesystem::path& file) {
  const std::filesystem::path path = file.empty() ? "/dev/stdin" : file;
  try {
    return read_file(path, kLargestText);
  } catch (const std::system_error& error) {
    throw_error(ErrorCode::invalid_argument,
                "{} cannot be read: {}; give another file, or the text itself", path.string(),
                error.code().message());
  }
}

void PromptArguments::add_to(CLI::App& command, CLI::Option* ids) {
  CLI::Option* const prompt = command.add_option(
      "--prompt", text, "a text, for a model with a tokenizer; else standard input is read");
  CLI::Option* const from_file =
      command.add_option("-f,--file", file, "reads the text from this file");
  from_file->check(not_empty())->excludes(prompt);
  if (ids != nullptr) {
    prompt->excludes(ids);
    from_file->excludes(ids);
  }
}

bool PromptArguments::given(const CLI::App& command) const {
  return command.count("--prompt") + command.count("--file") > 0;
}

std::string PromptArguments::read(const CLI::App& command) const {
  if (command.count("--prompt") > 0) {
    return text;
  }
  if (file.empty() && ::isatty(STDIN_FILENO) == 1) {
    throw UsageError("give the text: --prompt or -f, or write it to standard input");
  }
  return read_text(file);
}

}  // namespace kvcache::cli
