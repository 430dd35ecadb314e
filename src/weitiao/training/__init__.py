"""From a recipe to a sealed artifact: plan, build, loop, state, run."""
