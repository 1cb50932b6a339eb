"""Targets of a teacher that is sure and wrong, softened before the student hears them."""

from dataclasses import replace

from ragdistill.losses.reshaping import with_entropy_of_mistaken
from ragdistill_generator.lesson import Lesson


def with_entropy(lesson: Lesson, floor: float) -> Lesson:
    """The lesson with at least ``floor`` nats of entropy wherever the teacher's likeliest token is not the
    answer's; see :func:`ragdistill.losses.reshaping.with_entropy_of_mistaken`."""
    if not floor:
        return lesson
    examples = [
        each
        if each.targets is None
        else replace(each, targets=with_entropy_of_mistaken(each.targets, floor))
        for each in lesson.examples
    ]
    return replace(lesson, examples=examples)
