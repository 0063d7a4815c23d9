#include "program/run.hpp"

#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include "program/interrupt.hpp"
#include "program/standard_streams.hpp"

namespace kvcache::cli {
namespace {

ExitStatus report_interrupt(const Interrupted& interrupt) {
  return report_error(interrupt.what(),
                      static_cast<ExitStatus>(kEndedBySignal + interrupt.signal()));
}

/// The line and the status of the exception that is being handled.
ExitStatus report_exception() {
  try {
    throw_if_interrupted();  // what a signal broke off failed because of it
    throw;
  } catch (const Interrupted& interrupt) {
    return report_interrupt(interrupt);
  } catch (const Error& error) {
    return report_error(error.what(), exit_status(error.code()));
  } catch (const std::system_error& error) {
    return std::ferror(stdout) == 0
               ? report_error(error.what(), kFailed)
               : report_error("cannot write to standard output: " + error.code().message(),
                              kFailed);
  } catch (const std::bad_alloc&) {
    return report_error("out of memory", kFailed);
  } catch (const std::exception& error) {
    return report_error(error.what(), kFailed);
  }
}

}  // namespace

ExitStatus report_error(std::string_view message, ExitStatus status) noexcept {
  clear_status_line();
  std::fputs("error: ", stderr);
  for (const char letter : message) {
    std::fputc(letter == '\n' ? ' ' : letter, stderr);
  }
  write_error_line({});
  return status;
}

int run_program(const std::function<int()>& work) noexcept {
  open_standard_descriptors();
  catch_interrupts();
  try {
    const int status = work();
    flush_standard_output();
    throw_if_interrupted();
    return status;
  } catch (...) {
    std::fflush(stdout);  // what came before the error
    return report_exception();
  }
}

}  // namespace kvcache::cli
