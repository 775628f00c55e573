from docs import make_conventions


def test_the_committed_page_is_the_one_that_the_table_makes():
    assert make_conventions.PAGE.read_text(encoding="utf-8") == make_conventions.page()
