"""What is named together: EASE (Steck, WWW 2019) on the movies of training dialogues, cut to each movie's strongest neighbours.

B = -P / diag(P) with P = (X'X + lambda I)^-1 and a zero diagonal: closed form, no text. The retriever adds it to its score as a feature
whose weight is fitted on validation data, since on the dialogues it was made from it would look better than it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def ease(sets: Sequence[Sequence[int]], movies: int, regularisation: float = 50.0) -> np.ndarray:
    """The matrix B (movies, movies) float32 of eq. 8: B[i, j] is what having i says for j. `sets`: distinct movie numbers of each dialogue."""
    from scipy.linalg.lapack import spotrf, spotri
    from scipy.sparse import csr_array

    rows = np.repeat(np.arange(len(sets)), [len(members) for members in sets])
    columns = np.concatenate([np.asarray(members, np.int64) for members in sets]) if sets else np.zeros(0, np.int64)
    x = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(sets), movies))
    gram = (x.T @ x).toarray()
    np.fill_diagonal(gram, gram.diagonal() + np.float32(regularisation))
    # the matrix is positive definite: Cholesky takes a third of the work of a general inverse; the lower triangle comes back
    factor, _ = spotrf(gram, lower=True)
    inverse, _ = spotri(factor, lower=True)
    lower = np.tril(inverse, -1)
    weights = lower + lower.T
    weights /= -inverse.diagonal()[None, :]
    return np.asarray(weights, np.float32)


def strongest(weights: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """The `keep` largest entries of each row: column numbers (movies, keep) int32 and values (movies, keep) float32."""
    keep = min(keep, weights.shape[1])
    columns = np.argpartition(-weights, keep - 1, axis=1)[:, :keep].astype(np.int32)
    columns.sort(axis=1)
    return columns, np.take_along_axis(weights, columns.astype(np.int64), axis=1)
