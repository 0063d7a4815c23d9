"""One program of the C++ snippets of all pages: each is a function that is called by its name."""

from __future__ import annotations

from snippets import Snippet

INCLUDES = """\
#include <fmt/core.h>
#include <kvcache/kvcache.hpp>

#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>
"""
MODEL = 'const kvcache::Model model = kvcache::Model::load("models");'
TOKENS = "const std::vector<kvcache::TokenId> tokens{7, 8};"
PROMPT = "const std::vector<kvcache::TokenId> prompt{1, 2, 3};"
RECORD = "const std::vector<kvcache::TokenId> record{1, 2, 3};"
SEQUENCE = "kvcache::Sequence sequence = model.new_sequence(); sequence.extend(TokenIds(8, 5));"
TOKENIZER = 'const kvcache::Tokenizer tokenizer = kvcache::Tokenizer::load("models");'
# What the text around a snippet takes for granted, and what must hold when it has run.
BEFORE = {
    "README_1": f"{MODEL} {SEQUENCE} {PROMPT}",
    "BATCH_0": f"{MODEL} {PROMPT} {TOKENS} const TokenIds token{{4}};"
    " kvcache::Sequence a = model.new_sequence(), b = a.fork(), c = a.fork();",
    "CHAT_0": 'const std::string answer = "2";',
    "CONSTRAINTS_0": f"{MODEL} {SEQUENCE} {PROMPT} {TOKENIZER} const TokenIds stop_tokens{{9}};",
    "EVALUATOR_0": f"{MODEL} {RECORD} const std::vector<TokenIds> moves{{{{5}}, {{6, 7}}}};"
    " const kvcache::TokenTree tree{{5, 6}, {-1, 0}}; const auto use = [](const auto&) {};",
    "FORK_0": f"{MODEL} kvcache::Sequence prefix = model.new_sequence(); {TOKENS}",
    "POLICY_0": f"{RECORD} const auto legal_moves = [](const auto&) {{"
    " return std::vector<TokenIds>{{5}, {6, 7}}; }; const std::size_t best = 1, length = 3;",
    "PREFIX_CACHE_0": f"{MODEL} const TokenIds request{{1, 2, 3}};",
    "SAMPLING_0": f'{MODEL} {TOKENIZER} const std::string prompt = "Once";',
    "SEARCH_1": RECORD,
    "SEARCH_2": f"{MODEL} kvcache::Sequence first = model.new_sequence();"
    " first.extend(TokenIds{1}); kvcache::Sequence second = first.fork();",
    "SPECULATION_0": f"{MODEL} {SEQUENCE} {PROMPT}",
    "TREE_0": f"{MODEL} {SEQUENCE}",
    "WINDOW_0": f"{MODEL} {TOKENS}",
    "WINDOW_1": "kvcache::ModelOptions options;",
}
AFTER = {
    "README_1": "require(sequence.length() == 13 && branch.length() == 8);",
    "CHAT_0": "require(longer.size() > prompt.size());",
    "CONSTRAINTS_0": "require(move.meets_constraint);",
    "CONSTRAINTS_1": f"{MODEL} {SEQUENCE} const Even even(model.info().vocab_size);"
    " const kvcache::GenerateOptions options{.max_new_tokens = 5, .constraint = &even};"
    " const auto made = kvcache::generate(sequence, {}, options);"
    " require(made.tokens.size() == 2 && made.tokens[0] % 2 == 0 && made.tokens[1] % 2 == 0);",
    "FORK_0": "require(branch.length() == prefix.length());",
    "POLICY_0": "require(scores.priors.size() == 2 && scores.value.has_value());",
    "SAMPLING_0": "require(!found.tokens.empty());",
    "SEARCH_1": "require(root.visits == 50 && root.children[0] != nullptr);",
    "SEARCH_2": "require(first.length() == 3 && second.length() == 1);",
    "SPECULATION_0": "require(found.tokens.size() == 400);",
    "TREE_0": "require(sequence.length() == 10);",
    "WINDOW_1": "require(options.rewindable_tokens == 64);",
}
# Snippets that declare something, and what those that follow on their page need of it.
DECLARATIONS = {"CONSTRAINTS_1", "SEARCH_0"}
IN_THE_SCOPE_OF = {"SEARCH_1": "SEARCH_0", "CONSTRAINTS_1": "CONSTRAINTS_1"}
BEHIND_DECLARATIONS = {
    "SEARCH_0": "std::vector<Move> legal_moves(std::span<const kvcache::TokenId>) {"
    " return {{5}, {6, 7}, {6, 8}}; }",
}
MAIN = "int main() {"
HELPERS = """
using TokenIds = std::vector<kvcache::TokenId>;

[[maybe_unused]] void require(bool holds) {
  if (!holds) {
    throw std::logic_error("the snippet ran, and its result is not what it says");
  }
}
"""


def source(snippets: list[Snippet]) -> str:
    """The whole program; the compiler's messages name pages and their lines."""
    includes, parts, names = [INCLUDES], [HELPERS], []
    for snippet in snippets:
        lines = snippet.text.splitlines()
        includes += [line for line in lines if line.startswith("#include")]
        code = "\n".join("" if line.startswith("#include") else line for line in lines)
        parts.append(_part(snippet, f'#line {snippet.line} "{snippet.page}"\n{code}'))
        names.append(snippet.name)
    entries = ", ".join(f'{{"{name}", run_{name}}}' for name in names)
    parts.append(
        "int main(int, char** argv) try {\n"
        f"  static const std::map<std::string, void (*)()> all{{{entries}}};\n"
        "  all.at(argv[1])();\n"
        '} catch (const std::exception& error) { std::cerr << error.what() << "\\n"; return 1; }\n'
    )
    return "\n".join([*includes, *parts])


def _part(snippet: Snippet, code: str) -> str:
    name = snippet.name
    before, after = BEFORE.get(name, ""), AFTER.get(name, "")
    here = f'#line 1 "around {name}"'
    if MAIN in code:  # which has no return statement: of another function that would be wrong
        return code.replace(MAIN, f"void run_{name}() {{")
    scope = IN_THE_SCOPE_OF.get(name)
    using = f"using namespace {scope};" if scope else ""
    if name in DECLARATIONS:
        behind = BEHIND_DECLARATIONS.get(name, "")
        return (
            f"namespace {name} {{\n{code}\n{here}\n{behind}\n}}\n"
            f"void run_{name}() {{ {using} {after} }}"
        )
    return f"{here}\nvoid run_{name}() {{ {using} {before}\n{code}\n{here}\n{after} }}"
