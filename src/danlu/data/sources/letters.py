"""Say how likely a word is in the writing that an encoding is made for: the logarithm of a rough chance by letter.

Read in a wrong encoding, a word becomes rare Han characters, capitals after small letters, signs between letters.
"""

from collections.abc import Callable, Iterator
from functools import cache

from danlu.data.sources.latin_letters import FREQUENCIES

# The characters that texts use most, about half of what is written.
_SIMPLIFIED = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成"
    "方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工"
    "使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表"
    "化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结"
    "反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难"
    "且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运笔店价钱差坏红黄蓝"
    "绿京省县城镇州江湖河广深川湾港李刘陈杨赵周吴徐孙朱林男姓址号码率额户购买卖品牌款型评级质服装食药车房酒菜饭茶米油酱快慢"
    "冷热甜苦酸辣左右春夏秋冬早晚午夜星块斤克个件只台箱吨元角"
)
_TRADITIONAL = (
    "這個們來為國說時會對發後裡種經學現當沒動還進樣從實軍無與長機業將兩間問並應戰頭體見產東聲員論處義幾認條係氣題爾別變總電"
    "數報結務場計資許統區隊決馬書則聽達強難權設記類據邊張該規萬覺術領確傳師觀讓識帶導爭運關點開過價錢壞紅黃藍綠縣鎮廣灣劉陳"
    "楊趙吳孫號碼額戶購買賣質藥車飯醬熱塊噸臺龍鳳鳥魚雞貓豬風雲陽陰銀鐵鋼錄選擇連線網頁單雙親愛無聯絡縮寫轉換輸贏試驗請謝歡"
)
_HANGUL = (
    "이다는의에을가지고하로한은사도인를그서기나시아정대어자보리수전부원일해스주상과들것라만여공장학제있구소신성경게했음동국회"
    "안선우세으면용문생요적연위조비무실계년유오화업내등드중개방민관단울남북산김박최강임권현재트"
)
ORDINARY = -10.5  # what is less likely is not what people write


def likelihood(word: str, writing: str) -> list[float]:
    """Return the logarithm of a rough chance of each letter.

    Args:
        word: letters and digits, with at least one beyond ASCII.
        writing: a key of `WRITINGS`.
    """
    return list(WRITINGS[writing](word))


def _latin(word: str) -> Iterator[float]:
    for place, letter in enumerate(word):
        before, after = word[place - 1 : place], word[place + 1 : place + 2]
        if letter.isascii():
            yield _plain(letter)
        elif not letter.isalpha() or letter in "ªºˆ":
            yield _latin_sign(letter, before, after)
        elif letter in "ƒ":
            yield -12.0
        elif not (_is_plain_letter(before) or _is_plain_letter(after)):
            yield -9.0 if before or after else -7.0  # among others beyond ASCII, as in no word of these languages
        elif letter.islower():
            yield -5.5
        else:  # a capital begins a word or stands among capitals
            yield -6.5 if not before.islower() and (not before.isupper() or not after.islower()) else -12.0


def _latin_sign(letter: str, before: str, after: str) -> float:
    among = sum(_is_letter(each) for each in (before, after))
    if letter in "’‘´":
        return -6.0 if among else -9.0
    if letter in "®™©¹²³¼½¾" and _is_letter(after):  # these stand behind words, if at all
        return -11.0
    if letter in "–—…\xa0®™":
        return -7.0 if among < 2 else -9.5
    if letter in "“”„«»‚‹›":  # not within a word, and a low one only before it
        return -12.0 if among == 2 or (letter in "„‚" and not after) else -7.0
    if letter in "€£¥°²³µ½¼¾±×§·•‰¢©ºª":
        return -7.0 if among < 2 and (not before or before.isascii()) and (not after or after.isascii()) else -12.0
    return -9.0 if letter in "¿¡" and not before else -13.0


def _alphabet(word: str, first: str, last: str, frequent: str, rare: str = "") -> Iterator[float]:
    """Judge a word of an alphabet other than the Latin one.

    Its letters do not mix with the Latin ones.
    """
    for place, letter in enumerate(word):
        before, after = word[place - 1 : place], word[place + 1 : place + 2]
        if letter.isascii():
            yield _plain(letter)
        elif first <= letter <= last:
            mixed = _is_plain_letter(before) or _is_plain_letter(after)
            late = letter.isupper() and before.islower()
            chance = -8.0 if letter in rare else -2.7 if letter.lower() in frequent else -4.5
            yield -12.0 if mixed or late else chance - 1.5 * letter.isupper()
        else:
            yield -8.0 if letter in "№«»—–“”„…€" else -12.0


def _cyrillic(word: str) -> Iterator[float]:
    return _alphabet(word, "Ѐ", "ӿ", "оеаинтсрвлкмду", "ЂЃѓЉЊЌЋЏђљњќћџЎўЈҐґЅѕј")


def _greek(word: str) -> Iterator[float]:
    return _alphabet(word, "Ά", "ώ", "αοιετσνηυρπκςάόίέή")


def _hebrew(word: str) -> Iterator[float]:
    return _alphabet(word, "א", "ת", "יוהלאתרבשמם")


def _chinese(word: str, common: str, level: str) -> Iterator[float]:
    for place, letter in enumerate(word):
        if letter.isascii():
            yield _plain(letter)
        elif "一" <= letter <= "鿿":
            chance = -7.0 if letter in _set(common) else -9.0 if letter in _first_level(level) else -14.0
            yield chance - _beside_plain(word, place)
        else:
            yield -8.0 if _is_wide_sign(letter) else -11.0 if "぀" <= letter <= "ヿ" else _strange(letter)


def _simplified(word: str) -> Iterator[float]:
    return _chinese(word, _SIMPLIFIED, "gb2312")


def _traditional(word: str) -> Iterator[float]:
    return _chinese(word, _SIMPLIFIED + _TRADITIONAL, "big5")


def _japanese(word: str) -> Iterator[float]:
    for place, letter in enumerate(word):
        if letter.isascii():
            yield _plain(letter)
        elif "ぁ" <= letter <= "ん" or "ァ" <= letter <= "ー":
            yield -5.5
        elif "\uff61" <= letter <= "\uff9f":  # half as wide, one byte
            yield (-6.5 if letter > "\uff65" else -9.5) - 2 * _beside_plain(word, place)
        elif "一" <= letter <= "鿿" or letter == "々":
            yield (-8.5 if letter in _first_level("shift_jis") else -13.0) - _beside_plain(word, place)
        else:
            yield -8.0 if _is_wide_sign(letter) else _strange(letter)


def _korean(word: str) -> Iterator[float]:
    for place, letter in enumerate(word):
        if letter.isascii():
            yield _plain(letter)
        elif "가" <= letter <= "힣":
            common = letter in _set(_HANGUL)
            chance = -5.5 if common else -8.5 if letter in _first_level("euc_kr") else -13.0
            yield chance - _beside_plain(word, place)
        else:
            yield -13.0 if "一" <= letter <= "鿿" else -8.0 if _is_wide_sign(letter) else _strange(letter)


WRITINGS: dict[str, Callable[[str], Iterator[float]]] = {
    **dict.fromkeys(FREQUENCIES, _latin),
    "cyrillic": _cyrillic,
    "greek": _greek,
    "hebrew": _hebrew,
    "simplified": _simplified,
    "traditional": _traditional,
    "japanese": _japanese,
    "korean": _korean,
}


def _plain(letter: str) -> float:
    return -2.5 if letter.isdigit() else -3.2 if letter.isalpha() else -4.5


def _strange(letter: str) -> float:
    """Return the chance of what no text of that writing should hold.

    It is least for what is no character.
    """
    return -20.0 if "\ue000" <= letter <= "\uf8ff" or letter < "\xa0" else -11.0 if letter in "€·—…“”‘’℃×" else -12.5


def _beside_plain(word: str, place: int) -> float:
    """Return how much less likely a character is beside ASCII letters, for each side."""
    return 3.5 * (_is_plain_letter(word[place - 1 : place]) + _is_plain_letter(word[place + 1 : place + 2]))


def _is_plain_letter(letter: str) -> bool:
    return letter.isascii() and letter.isalpha()


def _is_letter(letter: str) -> bool:
    return letter.isalpha()


def _is_wide_sign(letter: str) -> bool:
    return any(first <= letter <= last for first, last in ("\u3000〟", "！～", "①⓿", "㈀㏿", "■◯", "←↙"))


@cache
def _set(letters: str) -> frozenset[str]:
    return frozenset(letters)


# Where an encoding keeps the characters in daily use: first and last leading byte.
_LEVELS = {"gb2312": (0xB0, 0xD7), "big5": (0xA4, 0xC6), "shift_jis": (0x88, 0x98), "euc_kr": (0xB0, 0xC8)}


@cache
def _first_level(codec: str) -> frozenset[str]:
    first, last = _LEVELS[codec]
    pairs = (bytes((lead, trail)) for lead in range(first, last + 1) for trail in range(0x40, 0xFF))
    return frozenset("".join(pair.decode(codec, errors="ignore") for pair in pairs))
