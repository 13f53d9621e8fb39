"""Talk to the champion: a conversation so far in, recommendations out, over HTTP and in the terminal.

Read in this order: talk.py (what is said), titles.py and mentions.py (typed titles to movies), champion.py (the retriever that serves, and why it
says what it says), reply.py (the LLM's answer), feedback.py (what people thought of it, kept for the next training), app.py (the web service),
terminal.py. Only lake.py knows the lake.
"""
