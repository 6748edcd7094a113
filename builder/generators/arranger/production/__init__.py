"""How a clip is mixed and mastered: its parameters, how they are drawn, and the effects."""
