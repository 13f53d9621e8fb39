"""The words that seekers and recommenders of the sample world speak with.

Only sentences with holes, in groups by what they do; `{films}` takes one film or several, `{film}` exactly one.
What is said when is the simulator's business.
"""

GREETINGS = (
    "Hello!",
    "Hi there",
    "Hi, how are you?",
    "Hey! How is your day going?",
    "Good evening",
    "Hello, how are you doing today?",
    "hi",
)
GREETINGS_BACK = ("Hi! I am doing well, thanks.", "Hello, I'm good.", "Hey there!", "Hi, doing great. You?", "Good, thank you!")
OPENINGS = (
    "Can you help me find a movie to watch tonight?",
    "I need a good movie for the weekend.",
    "I'm looking for some suggestions.",
    "Could you recommend something to me?",
    "I have a free evening and no idea what to watch.",
    "We are planning a movie night, any ideas?",
)
QUESTIONS = (
    "What kind of movies do you like?",
    "Sure, what are you in the mood for?",
    "Which movies did you enjoy lately?",
    "Any favorites that I can go by?",
    "Happy to help! What do you usually watch?",
    "Tell me about a movie that you loved.",
    "Of course. Do you have a genre in mind?",
)
LIKED = (
    "I really liked {films}.",
    "I loved {films}",
    "My favorites are {films}.",
    "I enjoyed {films} a lot.",
    "Recently I watched {films} and thought it was great.",
    "I could watch {films} again and again.",
    "{films}, that's my thing.",
    "Some that I like are {films}.",
)
SIMILAR = (
    "Something like {films} would be perfect.",
    "Anything similar to {films}?",
    "I'd like something in the vein of {films}.",
    "Is there anything along the lines of {films}?",
)
DISLIKED = (
    "I did not like {films} though.",
    "I couldn't stand {films}.",
    "{films} was not for me.",
    "But please nothing like {films}, I was bored.",
)
WANT_GENRE = (
    "I'm in the mood for a {genre}.",
    "I am looking for a good {genre}",
    "Do you know a great {genre}?",
    "I feel like a {genre} tonight.",
    "I would like to see a {genre}.",
    "Mostly I go for a {genre}.",
)
WANT_PHRASE = (
    "Something with {phrase} would be great.",
    "I want to see something about {phrase}.",
    "Maybe a story with {phrase}?",
    "I'd love one with {phrase}.",
    "Is there a movie with {phrase}?",
    "I keep thinking of {phrase}, anything like that?",
)
WANT_WORD = (
    'If I had to pick one word: "{word}".',
    "Think {word}.",
    "The key word is {word}.",
    "I have this word in my head: {word}.",
)
WANT_PERSON = (
    "I like everything with {person}.",
    "Anything {person} was involved in?",
    "I'm a big fan of {person}.",
    "{person} is always good.",
)
WANT_ERA = (
    "It should be from the {era}s.",
    "I prefer movies from the {era}s.",
    "The {era}s had the best ones.",
    "Something from the {era}s maybe.",
)
RECOMMENDATIONS = (
    "Have you seen {films}?",
    "You might like {films}.",
    "How about {films}?",
    "I would recommend {films}.",
    "Then you should try {films}!",
    "What about {films}",
    "Oh, {films} comes to mind.",
    "I think {films} would be a good fit.",
    "Try {films}. It got great reviews.",
    "{films} is a must see",
    "If you like that, check out {films}.",
)
REMARKS_PERSON = ("It has {person} in it.", "{person} is in it.", "That's the one by or with {person}.")
REMARKS_PHRASE = ("It has {phrase}.", "You get {phrase} there.", "Think of {phrase}.")
SEEN_LIKED = (
    "Yes, I have seen {film} and loved it!",
    "I've seen that one, it was great.",
    "Oh yes, a classic. I liked it a lot.",
    "Seen it already, but good choice.",
)
SEEN_DISLIKED = ("I saw it and did not care for it.", "Yes, but it wasn't for me.", "Seen it. Not my kind of movie.")
UNSEEN_LIKED = (
    "I haven't seen it, sounds good!",
    "No, not yet. I'll add it to my list.",
    "That sounds like what I'm looking for.",
    "I have never heard of it but I will give it a try.",
    "Ooh, I've been meaning to watch {film}.",
)
UNSEEN_DISLIKED = ("Hmm, I don't think that's for me.", "Not really what I had in mind.", "I'd rather see something else.")
MORE = ("Anything else?", "What else do you have?", "Any other ideas?", "One more please?")
THANKS = (
    "Thank you for the help!",
    "Thanks, I will watch it tonight.",
    "Great suggestions, thanks a lot",
    "Perfect. Thanks for your time!",
)
FAREWELLS = ("Enjoy the movie!", "You're welcome, bye!", "Glad I could help. Bye", "Have a nice evening!", "No problem, enjoy")

POST_TITLES = (
    "Looking for a {genre} with {phrase}",
    "Best {genre} you know?",
    "Movies with {phrase}?",
    "Suggest me a {genre} like {films}",
    "I just watched {films} and need more",
    "What should I watch after {films}?",
)
POST_BODIES = (
    "I have seen most of the famous ones, so surprise me.",
    "Old or new, any language is fine.",
    "My partner and I take turns picking and it's my turn.",
    "Thanks in advance!",
    "Please no spoilers.",
    "Bonus if it isn't too long.",
)
REPLY_LEADS = ("Here are some:", "Off the top of my head:", "I'd go with", "You want", "These fit I think.", "Seconding these:")
REPLY_TAILS = ("Enjoy!", "", "", "Hope that helps", "The last one is underrated.")
FOLLOW_UPS = (
    "Good call, I'll look into it. More?",
    "Seen that. What else?",
    "Nice! Anything a bit different?",
    "Thanks, keep them coming.",
)

GENRE_WORDS = {
    "Action": ("action movie", "action flick", "action-packed movie"),
    "Adventure": ("adventure movie", "big adventure"),
    "Animation": ("cartoon", "animated movie", "animation film"),
    "Biography": ("biopic", "true life story"),
    "Comedy": ("comedy", "funny movie", "feel-good comedy"),
    "Crime": ("crime movie", "gangster movie", "crime story"),
    "Documentary": ("documentary",),
    "Drama": ("drama", "serious drama"),
    "Family": ("family movie", "movie for the kids"),
    "Fantasy": ("fantasy movie", "magical fantasy film"),
    "Film-Noir": ("film noir", "noir"),
    "History": ("historical movie", "period piece"),
    "Horror": ("horror movie", "scary movie", "horror film"),
    "Music": ("music movie", "movie about music"),
    "Musical": ("musical",),
    "Mystery": ("mystery", "whodunit"),
    "Romance": ("romance", "romantic movie", "love story"),
    "Sci-Fi": ("sci-fi movie", "science fiction film", "sci-fi"),
    "Sport": ("sports movie",),
    "Thriller": ("thriller", "suspenseful movie"),
    "War": ("war movie", "war film"),
    "Western": ("western", "cowboy movie"),
}
# what dialogues name beside films of the corpus: people, franchises, series, and titles that nobody knows
UNLISTED = (
    "Star Wars",
    "Tom Hanks",
    "Meryl Streep",
    "The Marvel movies",
    "Cobalt Lantern  (1987)",
    "Friends",
    "Breaking Bad",
    "Untitled Winter Project",
    "The Paper Orchard (2016)",
    "Moonlit Tollbooth 3",
    "Anything by Pixar",
    "Quiet Harbour &amp; Sons (1994)",
)
