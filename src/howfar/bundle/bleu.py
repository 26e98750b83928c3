"""BLEU: how many n-grams of an answer stand in the reference too, over a whole corpus.

Idea     BLEU-4 = b * (p_1 p_2 p_3 p_4)**(1/4) * 100; p_n = n-grams of the answers that the
         references have too (each as often as there) by all of them, summed over the corpus; b =
         min(1, exp(1 - r / c)), r and c tokens of references and answers. No smoothing: a p_n of 0
         gives 0; orders of which no answer is long enough are left out, as sacreBLEU does with
         `effective_order`
Tokens   Chinese, Japanese, Thai and other scripts without spaces: one character each; all other
         text: runs of letters and digits, and every other visible character alone. Case counts
Source   Papineni et al. 2002, https://aclanthology.org/P02-1040
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

ORDERS = 4
# Thai, Lao, Tibetan, Burmese, Khmer, Japanese and Chinese.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+|[^\w\s]")


def bleu_tokens(text: str) -> list[str]:
    """What n-grams are made of."""
    return _TOKEN.findall(text)


def bleu_counts(answer: Sequence[str], reference: Sequence[str]) -> list[int]:
    """What one row adds: (2 * 4 + 2,) right and all n-grams for n = 1 .. 4; answer, reference."""
    found = []
    for n in range(1, ORDERS + 1):
        said, wanted = (
            Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
            for tokens in (answer, reference)
        )
        found += [(said & wanted).total(), said.total()]
    return [*found, len(answer), len(reference)]


def bleu(sums_10: npt.NDArray[np.float64]) -> float:
    """BLEU-4 of summed `bleu_counts`, 0 to 100."""
    right_4, all_4 = sums_10[0:8:2], sums_10[1:8:2]
    answer, reference = sums_10[8:]
    held = int((all_4 > 0).sum())
    if held == 0 or (right_4[:held] == 0).any():
        return 0.0
    logs = np.log(right_4[:held] / all_4[:held]).mean()
    return float(100 * math.exp(min(0.0, 1 - reference / answer) + logs))
