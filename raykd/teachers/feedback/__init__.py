"""Teachers that are trained by their student's feedback: the actor, the ensemble that workers ask, the message."""
