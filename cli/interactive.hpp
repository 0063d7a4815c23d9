// kvcache generate --interactive: a text that grows by what is typed and what follows.
#pragma once

#include "generation.hpp"

namespace kvcache::cli {

/// Reads lines of standard input until it ends or /quit comes: what begins with a slash is a
/// command (/help lists them), any other line is appended to the text, and what follows is printed.
/// Each turn computes its new tokens only. An error of a turn is a line on standard error, and the
/// text is as before it.
/// @throws Error as Model::load, Model::load_sequence; Interrupted
int run_interactive(const GenerateArguments& arguments, const SamplingOptions& sampling,
                    const Tokenizer& tokenizer);

}  // namespace kvcache::cli
