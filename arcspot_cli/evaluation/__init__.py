"""evaluate: a folder of tasks through the real solver, scored, compared and shown.

`choosing` picks the tasks that a list names, `asking` says what a solver is asked, `working` asks it in
processes of its own, `figures` judges the answers, `crediting` tells what solved a task, `keeping` loses none
of them, `running` puts these together; `comparing` and `gallery` tell people about it.
"""
