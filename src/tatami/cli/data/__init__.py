"""``tatami data``: look at data sets, at what augmentation makes of them, and at what a network saw."""

import click

from tatami.cli.data.info import info_command
from tatami.cli.data.preview import preview_command
from tatami.cli.data.replay import replay_command
from tatami.cli.data.show import show_command
from tatami.cli.data.sources import list_command
from tatami.cli.data.verify import verify_command


@click.group(epilog="Example: tatami data show katakana")
def command() -> None:
    """Look at data sets and at what augmentation makes of them."""


for one in (list_command, info_command, show_command, verify_command, preview_command, replay_command):
    command.add_command(one)
