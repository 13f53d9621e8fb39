"""Conversations turn by turn: chats of two people (ReDial, INSPIRED) and threads under a post (Reddit)."""

from __future__ import annotations

from collections.abc import Sequence

from rar_pipeline.sample import phrases
from rar_pipeline.sample.films import Film
from rar_pipeline.sample.session import Message, Opinion, Part, Reference, Session, Speaker, Unlisted, compose, fill
from rar_pipeline.sample.simulator import Seeker, Simulator
from rar_pipeline.sample.wishes import Facet, phrases_of


def chat(simulator: Simulator) -> Session:
    """One conversation of two people: greetings, likes and wishes, one to three rounds of recommendations, thanks."""
    talk = _Talk(simulator, Seeker(simulator))
    talk.open()
    for place in range(1 + int(simulator.rng.integers(3))):
        if place and not talk.refine():
            break
        talk.recommend(1 + int(simulator.chance(0.35)))
    talk.close()
    return talk.session


def thread(simulator: Simulator, replies: int) -> list[Session]:
    """One post and for each reply the conversation that ends with it; a third of them answer further down the thread."""
    talk = _Talk(simulator, Seeker(simulator))
    talk.post()
    branches = [talk.branch() for _ in range(replies)]
    for branch in branches:
        if simulator.chance(0.3):
            branch.reply(1 + int(simulator.rng.integers(3)))
            branch.say("seeker", simulator.one_of(phrases.FOLLOW_UPS))
        branch.reply(3 + int(simulator.rng.integers(4)))
    return [branch.session for branch in branches]


class _Talk:
    """A conversation in the making: what was said so far, and what the seeker has still to tell."""

    def __init__(self, simulator: Simulator, seeker: Seeker) -> None:
        self.simulator = simulator
        self.seeker = seeker
        self.session = Session()
        self.told: list[Facet] = []
        self.untold = list(seeker.wish)
        self.unmentioned = list(seeker.favourites)

    def branch(self) -> _Talk:
        """A copy that goes on by itself."""
        copy = _Talk(self.simulator, self.seeker)
        copy.session = Session(list(self.session.messages), dict(self.session.opinions))
        copy.told, copy.untold, copy.unmentioned = list(self.told), list(self.untold), list(self.unmentioned)
        return copy

    def say(self, speaker: Speaker, template: str, references: Sequence[Reference] = (), **words: str) -> None:
        """Append a message made from a template of phrases.py."""
        self.session.messages.append(Message(speaker, compose(template, references, **words)))

    def open(self) -> None:
        """Greetings, and what the seeker says before the first recommendation."""
        one_of, chance = self.simulator.one_of, self.simulator.chance
        if chance(0.75):
            speakers: tuple[Speaker, Speaker] = ("seeker", "recommender") if chance(0.6) else ("recommender", "seeker")
            self.say(speakers[0], one_of(phrases.GREETINGS))
            self.say(speakers[1], one_of(phrases.GREETINGS_BACK if chance(0.7) else phrases.GREETINGS))
        if chance(0.4):
            self.say("seeker", one_of(phrases.OPENINGS))
            self.say("recommender", one_of(phrases.QUESTIONS))
        likes_first, tells_likes = chance(0.5), chance(0.65)
        if likes_first and tells_likes:
            self.tell_likes()
        self.tell_wish(1 + int(chance(0.5)))
        if tells_likes and not likes_first:
            self.tell_likes()
        if chance(0.12):
            self.tell_dislike()

    def refine(self) -> bool:
        """The seeker says more of what is wanted; False when there is nothing left to say."""
        if not self.untold and not self.unmentioned:
            if more := self.simulator.chance(0.5):
                self.say("seeker", self.simulator.one_of(phrases.MORE))
            return more
        if not self.untold or self.simulator.chance(0.6):
            self.tell_likes()
        self.tell_wish(1)
        return True

    def close(self) -> None:
        """Thanks and good-bye; sometimes one of the two is missing."""
        if self.simulator.chance(0.9):
            self.say("seeker", self.simulator.one_of(phrases.THANKS))
        if self.simulator.chance(0.8):
            self.say("recommender", self.simulator.one_of(phrases.FAREWELLS))

    def tell_likes(self) -> None:
        """One to three of the favourites that were not mentioned yet, rarely with something that is no film of the corpus."""
        count = 1 + int(self.simulator.rng.integers(3))
        films, self.unmentioned = self.unmentioned[:count], self.unmentioned[count:]
        liked: list[Reference] = [film for film in films if film not in self.session.opinions]
        if liked and self.simulator.chance(0.07):
            liked.append(Unlisted(self.simulator.one_of(phrases.UNLISTED)))
        if liked:
            self.say("seeker", self.simulator.one_of(phrases.LIKED if self.simulator.chance(0.65) else phrases.SIMILAR), liked)
            self.session.opinions |= {reference: Opinion(0, 1, 1) for reference in liked}

    def tell_dislike(self) -> None:
        """A film that the seeker does not like."""
        film = self.seeker.disliked
        if film not in self.session.opinions:
            self.say("seeker", self.simulator.one_of(phrases.DISLIKED), [film])
            self.session.opinions[film] = Opinion(0, 1, 0)

    def tell_wish(self, count: int) -> None:
        """Up to `count` facets of the wish, a message each."""
        for facet in self.untold[:count]:
            self.say("seeker", self.wording(facet))
        self.told += self.untold[:count]
        del self.untold[:count]

    def wording(self, facet: Facet) -> str:
        """A sentence that asks for the facet."""
        one_of = self.simulator.one_of
        match facet.kind:
            case "genre":
                return fill(one_of(phrases.WANT_GENRE), genre=one_of(phrases.GENRE_WORDS[facet.value]))
            case "phrase":
                return fill(one_of(phrases.WANT_PHRASE), phrase=facet.value)
            case "word":
                return fill(one_of(phrases.WANT_WORD), word=facet.value)
            case "person":
                return fill(one_of(phrases.WANT_PERSON), person=facet.value)
            case "era":
                return fill(one_of(phrases.WANT_ERA), era=facet.value)

    def recommend(self, count: int) -> None:
        """The recommender may ask first, names films, together or one by one, may say why; the seeker reacts."""
        one_of, chance = self.simulator.one_of, self.simulator.chance
        if self.untold and chance(0.4):
            self.say("recommender", one_of(phrases.QUESTIONS))
            self.tell_wish(1)
            if chance(0.5):
                self.tell_likes()
        films = self.simulator.recommend(self.session, self.told, count)
        for batch in [[film] for film in films] if chance(0.4) else [films]:
            self.say("recommender", one_of(phrases.RECOMMENDATIONS), batch)
            if chance(0.3):
                self.remark(batch[-1])
            self.session.opinions |= {film: self.seeker.opinion(film) for film in batch}
            self.react(batch[-1])

    def remark(self, film: Film) -> None:
        """What the recommender adds about a film: somebody in it, or a piece of its plot."""
        one_of, pieces = self.simulator.one_of, phrases_of(film)
        if pieces and self.simulator.chance(0.5):
            self.say("recommender", one_of(phrases.REMARKS_PHRASE), phrase=one_of(pieces))
        else:
            self.say("recommender", one_of(phrases.REMARKS_PERSON), person=one_of(film.people))

    def react(self, film: Film) -> None:
        """The seeker tells the opinion of a recommended film."""
        opinion = self.session.opinions[film]
        words = {
            (1, 1): phrases.SEEN_LIKED,
            (1, 0): phrases.SEEN_DISLIKED,
            (0, 1): phrases.UNSEEN_LIKED,
            (0, 0): phrases.UNSEEN_DISLIKED,
        }
        self.say("seeker", self.simulator.one_of(words[opinion.seen, opinion.liked]), [film])

    def post(self) -> None:
        """A post: a title line, favourites, the whole wish, and some talk."""
        one_of, wish = self.simulator.one_of, {facet.kind: facet.value for facet in self.seeker.wish}
        genre = one_of(phrases.GENRE_WORDS[wish["genre"]]) if "genre" in wish else "movie"
        phrase = wish.get("phrase") or wish.get("word") or "a good story"
        favourites = self.seeker.favourites
        parts: list[Part] = [*compose(one_of(phrases.POST_TITLES), favourites[:1], genre=genre, phrase=phrase), "\n\n"]
        if self.simulator.chance(0.8):
            parts += [*compose(one_of(phrases.LIKED), favourites), "\n"]
        for facet in self.seeker.wish:
            parts += [self.wording(facet), " "]
        self.session.messages.append(Message("seeker", (*parts, one_of(phrases.POST_BODIES))))
        self.session.opinions |= {film: Opinion(0, 1, 1) for film in self.session.mentioned}
        self.told, self.untold, self.unmentioned = list(self.seeker.wish), [], []

    def reply(self, count: int) -> None:
        """A reply under a post: a list of films."""
        films = self.simulator.recommend(self.session, self.told, count)
        parts: list[Part] = [self.simulator.one_of(phrases.REPLY_LEADS)]
        for film in films:
            parts += ["\n\n* ", film]
        parts.append("\n\n" + self.simulator.one_of(phrases.REPLY_TAILS))
        self.session.messages.append(Message("recommender", tuple(parts)))
        self.session.opinions |= {film: Opinion(1, 2, 2) for film in films}
