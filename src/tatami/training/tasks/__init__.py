"""What a network is trained for: what the target is, which loss it has by default, what is measured, what comes out.

==============  ============================  ==========================  ===================================
task            target of an example          output of the network       measures
==============  ============================  ==========================  ===================================
`Classify`      a class                       (classes,)                  accuracy
`Regress`       numbers                       (numbers,)                  R², RMSE, MAE
`Segment`       a class for every point       (classes, *spatial)         mean IoU, pixel accuracy
`Reconstruct`   the input itself              (C, *spatial), or flat      PSNR, MSE
`Sequence`      a class for every step        (classes, time)             perplexity, accuracy of the steps
==============  ============================  ==========================  ===================================
"""

from tatami.training.tasks.base import Task
from tatami.training.tasks.classify import Classify
from tatami.training.tasks.maps import Segment, Sequence
from tatami.training.tasks.reconstruct import Reconstruct
from tatami.training.tasks.regress import Regress

__all__ = ["TASKS", "Classify", "Reconstruct", "Regress", "Segment", "Sequence", "Task", "task_of"]

TASKS: dict[str, type[Task]] = {cls.name: cls for cls in (Classify, Regress, Segment, Reconstruct, Sequence)}


def task_of(name: str) -> Task:
    """Return a task by name, with the settings that it has before it has seen data.

    >>> task_of("segment")
    Segment(palette=())
    """
    from tatami.errors import unknown_name

    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]()
