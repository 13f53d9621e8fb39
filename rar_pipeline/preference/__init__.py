"""The loop: candidate sets drawn from a retriever, the judge's rewards, preference pairs, and the round trained from them."""
