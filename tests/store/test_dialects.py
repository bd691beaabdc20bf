"""Each dialect knows a word for every type of the tables, and takes the same rows."""
import re

import pytest

from gearman_std.store.dialects import JOBS_TABLE, MYSQL, POSTGRES, RESULTS_TABLE, TABLES, column_names

DIALECTS = [POSTGRES, MYSQL]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_type_has_a_word(dialect):
    words = {column.split()[1] for columns in TABLES.values() for column in columns.split(", ")}
    assert words == set(dialect.types)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_are_added_to_the_tables_of_rows_and_one_text_is_left_open(dialect):
    assert set(dialect.add) == {JOBS_TABLE, RESULTS_TABLE}
    for text in list(dialect.add.values()) + [dialect.value, dialect.update]:
        assert re.findall("%.", text) == ["%s"]
    assert len(re.findall("%.", dialect.update_row)) == 6


def test_the_names_of_columns_are_in_the_order_of_the_tables():
    assert column_names(JOBS_TABLE)[:3] == ["handle", "server", "function_name"] and column_names(JOBS_TABLE)[-1] == "workload"
