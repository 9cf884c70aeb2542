"""A run as one page: everything that it was, measured and learned, in a single HTML file that needs no network."""

from tatami.inspect.report.page import report_page, write_report
from tatami.inspect.report.subject import Subject

__all__ = ["Subject", "report_page", "write_report"]
