// The result of a run: views of its memory as arrays, and what is asked of them where they are.

#include "kvcache/logits.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/errors.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

using Row = nb::ndarray<nb::numpy, const float, nb::ndim<1>, nb::c_contig>;
using Rows = nb::ndarray<nb::array_api, const float, nb::ndim<2>, nb::c_contig>;
using NumpyRows = nb::ndarray<nb::numpy, const float, nb::ndim<2>, nb::c_contig>;

/// Calls without the interpreter's lock where that takes long: logits of a device are brought here.
/// On the host it takes microseconds, less than a switch to another thread of Python.
template <typename Function>
auto read(const Logits& logits, Function&& function) {
  if (logits.on_host()) {
    return std::forward<Function>(function)();
  }
  const nb::gil_scoped_release released;
  return std::forward<Function>(function)();
}

/// Which row a number of Python's means: −1 is the last.
std::size_t to_row(const Logits& logits, std::int64_t row) {
  const auto rows = static_cast<std::int64_t>(logits.rows());
  if (row < -rows || row >= rows) {
    throw_error(ErrorCode::invalid_argument,
                "row {} was asked for, there are {}: 0 to {}, or -1 "
                "for the last",
                row, rows, rows - 1);
  }
  return static_cast<std::size_t>(row < 0 ? row + rows : row);
}

/// All rows as one array, which lie side by side in the memory of the run.
template <typename Array>
Array rows_of(nb::handle self) {
  const auto& logits = nb::cast<const Logits&>(self);
  const float* const first = read(logits, [&] {
    const float* begin = nullptr;
    for (std::size_t row = 0; row < logits.rows(); ++row) {
      const float* const data = logits.row(row).data();
      begin = row == 0 ? data : begin;
      if (data != begin + row * logits.vocab_size()) {
        throw_error(ErrorCode::run_failed,
                    "rows of the logits do not lie side by side; ask for each with row()");
      }
    }
    return begin;
  });
  return Array(first, {logits.rows(), logits.vocab_size()}, self);
}

Row vector_of(nb::handle self, std::span<const float> values) {
  return Row(values.data(), {values.size()}, self);
}

nb::object to_numpy(nb::handle self, const nb::object& dtype, const nb::object& copy) {
  const nb::object view = nb::cast(rows_of<NumpyRows>(self));
  if (dtype.is_none() && !copy.is_none() && !nb::cast<bool>(copy)) {
    return view;
  }
  nb::dict how;
  if (!dtype.is_none()) {
    how["dtype"] = dtype;
  }
  how["copy"] = copy;
  return nb::module_::import_("numpy").attr("array")(view, **how);
}

std::vector<std::pair<TokenId, float>> top_k(const Logits& logits, std::size_t k,
                                             std::int64_t row) {
  std::vector<std::pair<TokenId, float>> best;
  const std::vector<TokenScore> scores =
      read(logits, [&] { return logits.top_k(k, to_row(logits, row)); });
  for (const TokenScore& score : scores) {
    best.emplace_back(score.token, score.logit);
  }
  return best;
}

nb::ndarray<nb::numpy, float, nb::ndim<1>> log_probabilities(const Logits& logits,
                                                             const nb::object& tokens,
                                                             std::int64_t row) {
  const std::vector<TokenId> of = to_tokens(tokens);
  auto found = std::make_unique<std::vector<float>>(
      read(logits, [&] { return logits.log_probabilities(of, to_row(logits, row)); }));
  float* const data = found->data();
  const std::size_t size = found->size();
  const nb::capsule owner(found.release(), [](void* values) noexcept {
    delete static_cast<std::vector<float>*>(values);
  });
  return {data, {size}, owner};
}

}  // namespace

void bind_logits(nb::module_& module) {
  nb::class_<Logits>(
      module, "Logits",
      "Logits of one or more tokens, [rows, vocab_size], left where the run wrote them: nothing\n"
      "is copied until asked for. They stay valid as long as this object or an array of it\n"
      "lives, whatever happens to the sequence. Any number of threads may read them.\n\n"
      "Source: include/kvcache/logits.hpp.")
      .def_prop_ro("rows", &Logits::rows)
      .def_prop_ro("vocab_size", &Logits::vocab_size)
      .def_prop_ro(
          "shape",
          [](const Logits& logits) { return std::pair(logits.rows(), logits.vocab_size()); },
          nb::sig("def shape(self) -> tuple[int, int]"), "(rows, vocab_size)")
      .def_prop_ro("on_host", &Logits::on_host, "Whether they are in the host's memory.")
      .def("__len__", &Logits::rows)
      .def(
          "argmax",
          [](const Logits& logits, std::int64_t row) {
            return read(logits, [&] { return logits.argmax(to_row(logits, row)); });
          },
          nb::arg("row") = -1,
          "The token with the largest logit of a row, the smallest id when several are equal;\n"
          "where the logits are, without a copy.\n\n"
          "Raises:\n    Error: invalid_argument when there is no such row.")
      .def("top_k", &top_k, nb::arg("k"), nb::arg("row") = -1,
           "The k tokens with the largest logits of a row and these, largest first.\n\n"
           "Raises:\n    Error: invalid_argument when there is no such row.")
      .def(
          "log_sum_exp",
          [](const Logits& logits, std::int64_t row, double temperature) {
            return read(logits,
                        [&] { return logits.log_sum_exp(to_row(logits, row), temperature); });
          },
          nb::arg("row") = -1, nb::arg("temperature") = 1.0,
          "log of the sum of exp(logit / temperature) over a row, in double precision:\n"
          "`logit / temperature` less this is a token's log-probability.\n\n"
          "Raises:\n    Error: invalid_argument when there is no such row, or `temperature` is "
          "not\n"
          "        above 0 and finite.")
      .def("log_probabilities", &log_probabilities, nb::arg("tokens"), nb::arg("row") = -1,
           nb::sig("def log_probabilities(self, tokens: " KVCACHE_PY_TOKENS
                   ", row: int = -1) -> numpy.typing.NDArray[numpy.float32]"),
           "Natural logarithms of the softmax of a row over the whole vocabulary, at some tokens,\n"
           "[len(tokens)].\n\n"
           "Raises:\n    Error: invalid_argument when there is no such row, token_out_of_range.")
      .def(
          "row",
          [](nb::handle self, std::int64_t row) {
            const auto& logits = nb::cast<const Logits&>(self);
            return vector_of(self, read(logits, [&] { return logits.row(to_row(logits, row)); }));
          },
          nb::arg("row") = -1,
          nb::sig("def row(self, row: int = -1) -> numpy.typing.NDArray[numpy.float32]"),
          "One row as float32, [vocab_size]: a view, which cannot be written to and keeps the\n"
          "logits alive. No copy for a float32 model on the CPU, otherwise converted on first "
          "use.\n\n"
          "Raises:\n    Error: invalid_argument when there is no such row.")
      .def(
          "output",
          [](nb::handle self, std::string_view name, std::int64_t row) {
            const auto& logits = nb::cast<const Logits&>(self);
            return vector_of(
                self, read(logits, [&] { return logits.output(name, to_row(logits, row)); }));
          },
          nb::arg("name"), nb::arg("row") = -1,
          nb::sig("def output(self, name: str, row: int = -1) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          "What the model computes beside the logits for the token of a row, as float32, [size];\n"
          "names and sizes are ModelInfo.outputs. A view as row().\n\n"
          "Raises:\n    Error: invalid_argument when there is no such output or row,\n"
          "        logits_invalid where the vector holds NaN.")
      .def(
          "to_numpy", [](nb::handle self) { return rows_of<NumpyRows>(self); },
          nb::sig("def to_numpy(self) -> numpy.typing.NDArray[numpy.float32]"),
          "All rows as float32, [rows, vocab_size]: a view as row().")
      .def("__array__", &to_numpy, nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none(),
           nb::sig("def __array__(self, dtype: numpy.typing.DTypeLike | None = None, "
                   "copy: bool | None = None) -> numpy.typing.NDArray[typing.Any]"),
           "For numpy: numpy.asarray(logits) is to_numpy(), without a copy.")
      .def(
          "__dlpack__",
          [](nb::handle self, const nb::kwargs& how) {
            return nb::cast(rows_of<Rows>(self)).attr("__dlpack__")(**how);
          },
          nb::sig("def __dlpack__(self, **how: typing.Any) -> typing.Any"),
          "For other array libraries (DLPack): all rows as float32, [rows, vocab_size], in the\n"
          "host's memory, read-only, without a copy of what row() has.")
      .def(
          "__dlpack_device__", [](const Logits&) { return std::pair(1, 0); },
          nb::sig("def __dlpack_device__(self) -> tuple[int, int]"), "(1, 0): the host's memory.")
      .def("__repr__", [](const Logits& logits) {
        return fmt::format("Logits(rows={}, vocab_size={})", logits.rows(), logits.vocab_size());
      });
}

}  // namespace kvcache::python
