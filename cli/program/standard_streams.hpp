// Standard input, output and error, whatever the caller made of them.
#pragma once

#include <string_view>

namespace kvcache::cli {

/// Opens those of the descriptors 0, 1 and 2 that are closed, so that no file of the program gets
/// their numbers, and with it what others print. To be called before anything else. Reading from
/// and writing to them still fails.
void open_standard_descriptors() noexcept;

/// Writes a line to standard error. What cannot be written is lost: there is nowhere to say so.
void write_error_line(std::string_view line) noexcept;

/// Shows one line on standard error, a terminal, in place of the one before; the next line that is
/// written takes its place. Of several threads each line is whole.
void show_status_line(std::string_view line) noexcept;
/// Takes it away, where there is one.
void clear_status_line() noexcept;

/// Sends what was printed on its way.
/// @throws std::system_error when it, or anything printed before, did not arrive
void flush_standard_output();

}  // namespace kvcache::cli
