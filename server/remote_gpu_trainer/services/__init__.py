"""What the program does, one module per part of the road. Built in ``app.compose``; the tools only call in here."""
