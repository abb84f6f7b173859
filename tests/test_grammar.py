# SPDX-License-Identifier: Apache-2.0
"""The condition language: what is read, how it nests, and where a mistake is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falcolib.rules import ast
from falcolib.rules.ast import And, Condition, FieldName, ListLiteral, Literal, MacroName, Not, Operand, Or, TransformCall
from falcolib.rules.grammar import MAX_CALLS, MAX_DEPTH, GrammarError, parse

pytestmark = pytest.mark.daemon


def shape(node: Condition | Operand | tuple[Literal, ...] | None) -> str:
    """A tree with all its parentheses: groups in (), lists in [], literals quoted."""
    match node:
        case ast.Test(left, op, modifier, right):
            return " ".join(x for x in (shape(left), op, modifier, shape(right)) if x)
        case MacroName(name):
            return name
        case Not(child):
            return f"not {shape(child)}"
        case And(children):
            return f"({' and '.join(map(shape, children))})"
        case Or(children):
            return f"({' or '.join(map(shape, children))})"
        case FieldName(name, argument):
            return name if argument is None else f"{name}[{argument}]"
        case TransformCall(name, inputs, argument):
            return f"{name}({', '.join(map(shape, inputs))})" + (f"[{argument}]" if argument else "")
        case ListLiteral(items):
            return f"[{', '.join(map(shape, items))}]"
        case Literal(text):
            return repr(text)
        case tuple():
            return f"[{', '.join(map(shape, node))}]"
    return ""


def read(text: str) -> str:
    return shape(parse(text))


def mistake(text: str) -> tuple[str, int]:
    with pytest.raises(GrammarError) as e:
        parse(text)
    return e.value.message, e.value.index


class TestPrecedence:
    @pytest.mark.parametrize(("text", "tree"), [
        ("a or b and c", "(a or (b and c))"),
        ("a and b or c", "((a and b) or c)"),
        ("a and b and c", "(a and b and c)"),
        ("(a or b) and c", "((a or b) and c)"),
        ("not a and b", "(not a and b)"),
        ("not (a and b)", "not (a and b)"),
        ("((a))", "a"),
        (" \t\n a \r\n and\n\tb ", "(a and b)"),
    ])
    def test_not_binds_tighter_than_and_and_and_than_or(self, text: str, tree: str) -> None:
        assert read(text) == tree

    @pytest.mark.parametrize(("text", "tree"), [
        ("not not a", "a"), ("not not not a", "not a"), ("not(a)", "not a"), ("not not(a)", "a"), ("not not (a)", "a"),
    ])
    def test_double_negation_cancels(self, text: str, tree: str) -> None:
        assert read(text) == tree

    def test_a_name_may_begin_with_an_operator(self) -> None:
        assert read("nothing and order") == "(nothing and order)"

    @pytest.mark.parametrize(("text", "tree"), [("a and(b)", "(a and b)"), ("a or(b)", "(a or b)"), ("a and(b) and c",
        "(a and b and c)")])
    def test_a_parenthesis_needs_no_blank_before_it(self, text: str, tree: str) -> None:
        assert read(text) == tree

    def test_what_follows_or_and_a_parenthesis_at_once_cannot_be_joined_by_and(self) -> None:
        """Falco's grammar: the group is an operand of the "or" itself."""
        assert read("a or(b) or c and d") == "(a or b or (c and d))"
        assert mistake("a or(b) and c") == ("unexpected token after ')', expecting 'or', 'and'", 8)


class TestTests:
    @pytest.mark.parametrize(("text", "tree"), [
        ("proc.name=cat", "proc.name = 'cat'"),
        ("proc.name == cat", "proc.name = 'cat'"),
        ("proc.name != cat", "proc.name != 'cat'"),
        ("fd.num >= -1", "fd.num >= '-1'"),
        ("fd.num<=0x1F", "fd.num <= '0x1F'"),
        ("thread.cpu > 1.5e+3", "thread.cpu > '1.5e+3'"),
        ("fd.name startswith /etc", "fd.name startswith '/etc'"),
        ("fd.name glob\n/etc/*", "fd.name glob '/etc/*'"),
        ("fd.name exists", "fd.name exists"),
        ("proc.name in (a, \"b c\" ,'d')", "proc.name in ['a', 'b c', 'd']"),
        ("proc.name in()", "proc.name in []"),
        ("proc.name in ( )", "proc.name in []"),
        ("proc.name in a_list", "proc.name in ['a_list']"),
        ("fd.name pmatch (/etc, /usr)", "fd.name pmatch ['/etc', '/usr']"),
        ("fd.types intersects (file)", "fd.types intersects ['file']"),
        ("evt.dir=<", "evt.dir = '<'"),
        ("evt.dir=> and a", "(evt.dir = '>' and a)"),
    ])
    def test_operators(self, text: str, tree: str) -> None:
        assert read(text) == tree

    @pytest.mark.parametrize(("text", "tree"), [
        ("proc.name startswith oneof (a, b)", "proc.name startswith oneof ['a', 'b']"),
        ("proc.name = anyof some_list", "proc.name = anyof ['some_list']"),
        ("proc.name != allof ()", "proc.name != allof []"),
        ("proc.name = oneof", "proc.name = 'oneof'"),
        ("proc.name = oneof and a", "(proc.name = 'oneof' and a)"),
    ])
    def test_modifiers_count_only_before_a_list_or_a_name(self, text: str, tree: str) -> None:
        assert read(text) == tree

    @pytest.mark.parametrize(("text", "tree"), [
        ("proc.aname[2]=sh", "proc.aname[2] = 'sh'"),
        ("proc.env[HOME]=/", "proc.env[HOME] = '/'"),
        ('proc.env["a b"]=/', "proc.env[a b] = '/'"),
        ("evt.arg.flags contains O_", "evt.arg.flags contains 'O_'"),
    ])
    def test_field_arguments(self, text: str, tree: str) -> None:
        assert read(text) == tree

    @pytest.mark.parametrize("text", ["evt.typein (open)", "proc.namecontains x", "proc.nameexists", "fd.num_in (1)", "a.bpmatch (/x)"])
    def test_a_field_is_the_longest_name_even_if_an_operator_is_its_end(self, text: str) -> None:
        with pytest.raises(GrammarError, match="expected a valid check operator"):
            parse(text)

    @pytest.mark.parametrize(("text", "tree"), [
        ("a.existsin = x", "a.existsin = 'x'"), ("proc.contains contains x", "proc.contains contains 'x'"),
        ("a.in.in in (x)", "a.in.in in ['x']"), ("a.exists exists", "a.exists exists"),
    ])
    def test_a_field_may_have_the_name_of_an_operator(self, text: str, tree: str) -> None:
        assert read(text) == tree

    @pytest.mark.parametrize(("text", "tree"), [
        ("tolower(proc.name) = cat", "tolower(proc.name) = 'cat'"),
        ("toupper( basename( proc.exepath ) ) = CAT", "toupper(basename(proc.exepath)) = 'CAT'"),
        ("proc.name = val(proc.pname)", "proc.name = val(proc.pname)"),
        ("proc.name = tolower(proc.pname)", "proc.name = tolower(proc.pname)"),
        ("fd.num > val(fd.ino)", "fd.num > val(fd.ino)"),
        ('join(",", (proc.name, "x", 1)) = a', "join(',', [proc.name, 'x', '1']) = 'a'"),
        ('getopt(proc.args, "ab:")[b] = 1', "getopt(proc.args, 'ab:')[b] = '1'"),
        ("proc.name = tolower", "proc.name = 'tolower'"),
    ])
    def test_transformers(self, text: str, tree: str) -> None:
        assert read(text) == tree


class TestLiterals:
    @pytest.mark.parametrize(("written", "value"), [
        (r'"a b"', "a b"), (r"'a b'", "a b"), ('""', ""), (r'"a\"b"', 'a"b'), (r"'a\'b'", "a'b"), (r'"a\\b"', "a\\b"), (r'"a\/b"', "a/b"),
        (r'"\b\f\n\r\t"', "\b\f\n\r\t"), (r'"\x41\x7a"', "Az"), (r'"\ "', "\\"), (r'"(a,b)"', "(a,b)"), ("/bin/*.sh", "/bin/*.sh"),
        ("é", "é"), (r'"\xc3\xa9"', "é"), (r'"\xff"', "\udcff"),
    ])
    def test_quotes_and_escapes(self, written: str, value: str) -> None:
        test = parse(f"proc.name = {written}")
        assert isinstance(test, ast.Test)
        assert isinstance(test.right, Literal)
        assert test.right.text == value

    @pytest.mark.parametrize("written", [r'"\q"', r'"a\'b"', r"'a\"b'", r'"\x4"', r'"\x00"', "a\0b"])
    def test_unknown_escapes_and_nul_are_mistakes(self, written: str) -> None:
        mistake(f"proc.name = {written}")

    def test_a_backslash_before_the_closing_quote_always_escapes_it(self) -> None:
        """As in Falco, also where the backslash is escaped itself."""
        mistake(r'proc.name = "a\\"')


class TestMistakes:
    @pytest.mark.parametrize(("text", "message", "index"), [
        ("", "filter input string is empty", 0),
        ("evt.type=execve foo", "unexpected token after 'execve', expecting 'or', 'and'", 16),
        ("(a", "expected a ')' token", 2),
        ("a)", "unexpected token after 'a', expecting 'or', 'and'", 1),
        ("a and", "expected blank or '(' after 'and'", 5),
        ("a andb", "expected blank or '(' after 'and'", 5),
        ("a.b foo", "expected a valid check operator", 4),
        ("a.b containsx", "expected a valid check operator", 4),
        ("a.b > x", "expected a number value or a field with a valid transformer", 6),
        ("a.b = ", "expected a string value or a field with a valid transformer", 6),
        ("a.b = (x)", "expected a string value or a field with a valid transformer", 6),
        ("a.b in (x,", "expected a string value", 10),
        ("a.b in (x y)", "expected a ')' token", 10),
        ("a.b in 3", "expected a list, an identifier, or a field with a valid transformer", 7),
        ("a.b[] = 1", "expected a valid field argument", 4),
        ("a.b[1 = 1", "expected a ']' token", 5),
        ("tolower(a.b = x", "expected a ')' token closing the transformer", 12),
        ("tolower() = x", "expected a field or a nested valid transformer", 8),
        ("a.b = val(3)", "expected a field within 'val' transformer", 10),
        ("b64(a.b [1]) exists", "expected a ')' token closing the transformer", 8),
        ("getopt(a.b, 'x') [x] = y", "expected a valid check operator", 17),
        ('a.b = "x', "expected a string value or a field with a valid transformer", 6),
        ("3", "expected a '(' token, a field check, or an identifier", 0),
    ])
    def test_tell_what_was_expected_and_where(self, text: str, message: str, index: int) -> None:
        found = mistake(text)
        assert found[0].startswith(message)
        assert found[1] == index

    def test_places_count_lines_and_columns_from_0(self) -> None:
        condition = parse("a.b exists\n  and c.d exists")
        assert isinstance(condition, And)
        second = condition.children[1]
        assert (second.at.line, second.at.column, second.at.offset) == (1, 6, 17)
        assert second.at.name == '"a.b exists   and ..."'


class TestLimits:
    def test_parentheses_nest_a_thousand_deep_without_recursion(self) -> None:
        assert read("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH) == "a"
        assert mistake("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1))[0] == "exceeded max depth limit of 1000"

    def test_negations_too(self) -> None:
        assert isinstance(parse("not(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH), Not)

    def test_transformers_nest_as_deep_as_anyone_writes(self) -> None:
        parse("tolower(" * MAX_CALLS + "a.b" + ")" * MAX_CALLS + " = x")
        assert "transformers" in mistake("tolower(" * 5000 + "a.b")[0]
        assert "transformers" in mistake("a.b = " + "tolower(" * 5000)[0]

    def test_unclosed_quotes_and_long_lists_take_linear_time(self) -> None:
        mistake('a.b = "' + '\\"' * 200_000)
        mistake("a.b in (" + "x, " * 50_000 + "(")
        assert isinstance(parse("a.b in (" + ", ".join(["x"] * 50_000) + ")"), ast.Test)


_words = st.sampled_from(["a.b", "proc.name", "and", "or", "not", "(", ")", "=", "!=", " ", "\n", "in", "exists", "startswith ",
    '"', "'", "\\",
                          ",", "val(", "tolower(", "[", "]", "1", "0x", "oneof ", "x", "\0", "é", "\udcff"])


_tests = st.sampled_from(["m", "a.b exists", "a.b = x", "a.b in (x, y)", "tolower(a.b) = x"])
_conditions = st.recursive(_tests, lambda inner: st.one_of(
    inner.map(lambda x: f"not ({x})"),
    inner.map(lambda x: f"({x})"),
    st.tuples(inner, inner).map(lambda p: f"({p[0]}) and ({p[1]})"),
    st.tuples(inner, inner).map(lambda p: f"({p[0]} or {p[1]})"),
))


class TestAnyText:
    @given(st.one_of(st.text(), st.lists(_words).map("".join), st.lists(_words).map(" ".join)))
    def test_gives_a_tree_or_a_grammar_error_inside_the_text(self, text: str) -> None:
        index = 0
        try:
            parse(text)
        except GrammarError as e:
            index = e.index
        assert 0 <= index <= len(text)

    @given(_conditions)
    def test_blanks_and_parentheses_around_an_operand_change_nothing(self, text: str) -> None:
        assert read(f" ( \n{text}\t) ") == read(text)
