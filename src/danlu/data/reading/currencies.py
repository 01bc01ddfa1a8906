"""Letters that stand for a currency before a number: `CHF 5` is an amount, `Room 5` is a name.

Behind a number any unit may stand, so only what stands before it has to be known.
"""

import unicodedata

CODES = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK "
    "HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL "
    "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RMB "
    "RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS "
    "UAH UGX USD UYU UZS VES VND VUV WST XAF XAG XAU XBT BTC ETH XCD XOF XPF YER ZAR ZMW ZWL"
)
SHORT = (
    "B/. Bs Dh Dhs Din EURO Euro Fr Ft KR KSh Kr Ksh Kč Lei Php RM RS Re Rp Rs S/ S/. SFr Sfr TL TSh Tk USh Zł "
    "din euro eur fr ft kn kr kč lei rs sFr sfr zł лв руб р грн тг 人民币 元 圆 円"
)
CURRENCIES = frozenset(f"{CODES} {SHORT}".split())


def is_currency(prefix: str) -> bool:
    """Say whether a currency is meant: by its sign (`R$`), code or short name.

    A full stop may follow.
    """
    has_sign = any(unicodedata.category(sign) == "Sc" for sign in prefix)
    return has_sign or prefix in CURRENCIES or prefix.removesuffix(".") in CURRENCIES
