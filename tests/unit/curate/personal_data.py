"""A labelled sample of phone numbers, payment cards and bank accounts, and of what only looks like them.

Each case is a text; what is personal data in it stands between ``<<`` and ``>>``. The numbers are public: those that
regulators set aside for books and films (Ofcom, NANPA, Bundesnetzagentur, ARCEP, ACMA, PTS), made-up ones in the
written forms of other countries, the test cards of payment services, and the examples of SWIFT's IBAN registry. None
was taken from the library that is measured. What looks like them is made up, or was found in documentation and code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from components.curate.privacy.placeholders import TYPED
from components.curate.privacy.redaction import redact

_LABEL = re.compile("<<(.*?)>>")

PHONES = """
Call us at <<+44 20 7946 0958>> today.
The studio (<<+44 (0)20 7946 0991>>) is closed.
Fax <<+442079460123>>, second floor.
Phone: <<020 7946 0018>>
tel. <<(020) 7946 0812>> or write
My mobile is <<07700 900123>>, ask for Ann.
Telephone <<0113 496 0999>> (mornings only)
Reach him on <<+44 7700 900456>>.
Tel: <<0044 20 7946 0321>>
<a href="tel:<<+44-20-7946-0000>>">call</a>
phone <<0808 157 0192>> free of charge
Call <<(212) 555-0187>> or <<212-555-0143>>.
Office: <<+1 212 555 0187>>
Call <<212.555.0116>> now
toll free <<1-800-555-0199>>
Phone <<+1 (415) 555-0132>>, ext. 12
Cell: <<415 555 0132>>
sms to <<+12025550123>>
Dial <<(202)555-0119>>.
phone=<<202-555-0119>>;
Contact: <<+1-303-555-0172>>
My number is <<+1.617.555.0164>>
Tel.: <<030 23125 678>>
Telefon <<+49 (0)30 23125-678>>
Tel. <<030/23125678>>, Mo bis Fr
Anruf unter <<+49 30 23125 000>>
Fon: <<+49-69-90009-123>>
Mobil: <<0171 3920012>>
Handy <<+49 171 3920099>>
Telefon: <<040 66969-100>>
Telefax <<0221 4710 222>>
Tel. <<(089) 99998 345>>
Tel: <<+4989 99998 345>>
Telefon: <<+49/40/66969/123>>
Tél. <<01 99 00 12 34>>
Téléphone : <<01.99.00.56.78>>
Appelez le <<+33 1 99 00 12 34>>
tél. <<+33 (0)6 39 98 12 34>>
Portable : <<06 39 98 45 67>>
fax <<+33-4-65-71-12-34>>
<<+33199001234>> (accueil)
Phone <<(02) 5550 1234>>
Mobile <<0491 570 006>>
Ring <<+61 491 570 156>>
Call <<+61 2 5550 9876>>
phone <<(03) 7010 4321>>
Telefon <<08-465 004 12>>
Mobil: <<070-174 06 35>>
Ring <<+46 70 174 06 12>>
tel <<+46 8 465 004 99>>
Tel. <<031-390 06 12>>
Teléfono: <<+34 91 123 45 67>>
Móvil <<+34 612 34 56 78>>
Tel. <<+39 06 698 12345>>
Cellulare: <<+39 312 345 6789>>
Telefoon <<+31 20 123 4567>>
Bel <<+31 6 12345678>>
tel. <<+48 22 123 45 67>>
kom. <<+48 512 345 678>>
Phone: <<+91 98765 43210>>
WhatsApp <<+91-9876543210>>
Tel <<+81 3-1234-5678>>
Mobile <<+81 90-1234-5678>>
Telefone: <<+55 11 91234-5678>>
Fone <<+55 (11) 2345-6789>>
tel <<+86 138 0013 8000>>
Call <<+86 10 6552 9988>>
Phone <<+7 (495) 123-45-67>>
tel. <<+7 912 345-67-89>>
Tel. <<+41 44 668 18 00>>
Natel <<+41 78 123 45 67>>
Tel. <<+43 1 23456789>>
Tlf. <<+45 32 12 34 56>>
Tlf <<+47 22 12 34 56>>
Puh. <<+358 9 1234567>>
Gsm <<+358 41 2345678>>
Phone <<+353 1 234 5678>>
Tel <<+52 55 1234 5678>>
Tel: <<+90 212 345 67 89>>
tel <<+82 2-312-3456>>
Phone <<+27 11 978 5313>>
Mobile <<+234 802 123 4567>>
Call <<+254 712 123456>>
tel <<+20 2 34567890>>
Phone <<+972 2-123-4567>>
tel. <<+380 44 123 4567>>
Tel <<+30 21 2345 6789>>
Tel. <<+351 21 234 5678>>
Tel. <<+36 1 234 5678>>
Tel. <<+420 212 345 678>>
Tel <<+54 9 11 2345-6789>>
HP <<+62 812-3456-7890>>
Tel <<+66 2 123 4567>>
Call <<+65 6123 4567>>
Tel <<+852 2123 4567>>
Phone <<+64 3 345 6789>>
Tel <<+40 21 123 4567>>
tel <<+385 1 2345 678>>
Phone <<+60 3-2385 6789>>
Call <<+63 2 8234 5678>>
Tel <<+84 210 1234 567>>
Phone <<+92 21 23456789>>
Tel <<+966 11 234 5678>>
Phone <<+971 2 234 5678>>
Tel <<+32 2 123 45 67>>
GSM: <<+32 470 12 34 56>>
"""

NO_PHONES = """
Decimal('+35236450.6') in 2019-05-17
The offset is +00:00 and not +01:00.
@@ -1234,56 +1234,57 @@ def run
@@ -100,12 +10234,567 @@
between 2019-05-17 and 2020-12-31
at 2019-05-17 10:20:30 +0200
timestamps 1558081230 1558081231 and 1558081299
version 3.11.7 and 2.0.0.1234
IP 192.168.100.200 stays here
ISBN 978-3-16-148410-0
ISBN 0-306-40615-2
ISSN 0317-8471 is a serial
CAS 7732-18-5 is water
part no. 200-300-4000 and 123-456-7890-12
>>> round(+123456789.12345)
x = +12 345 678 901 234
sum: +100 200 300 400
in hex 0123 4567 89ab cdef
0000 0001 0002 0003 0004
range 1000-2000-3000
coordinates +40.7128 -74.0060
+1234567.89 -7654321.00 +1111111.11
the ratio is 1.234.567.890
1,234,567,890 people
$ 1.234.567,89
order 4711-0815-2342
ticket 2019-0042-1234
RFC 2616, 2822, 5322 and 8259
ports 8080 8081 8082 8083
chmod 0755 0644 0600
0x7fff5fbff8c0 is an address
bytes 00 01 02 03 04 05 06 07
pi is 3.14159265358979
exit code -1073741819
error -2147467259 (0x80004005)
+CME ERROR: 100 200 300
page 12, lines 100-200-3000
from 1914-1918 and 1939-1945
phi +1.6180339887 and e +2.7182818284
+0.5772156649 of Euler
a+123456789b is no number
C++11 and C++14 20 30 40
UTC+05:30 1999
GMT+0200 20190517
the id 550e8400-e29b-41d4-a716-446655440000
SSN form 000-00-0000 of the manual
tel est son nom, 12 345
call f(100, 2000, 30000)
call stack 0012 3456 7890 1234
phone models 3310 and 6110 and 8210
The phone of 2007 had 128 MB; 4096 rows
call 0 at line 12345678
Call me in 2019 or 2020, 2021, 2022
phones: 1 000 000 sold
telescope 030 23125678 pixels
dialog 01 02 03 04 05 06
mobile-first since 2010, 2011, 2012
+10 000 000 000 units
+999 123 456 789 is no country
+1 111 111 1111 is no number
+1 212 055 0187
+44 0000 000 000
+49 0000000000
+33 0 00 00 00 00
+800 000 000
123-555-0123 and 199-555-0123
000-555-0123
(123) 456-7890
(012) 345-6789
1-111-111-1111
999.999.9999
012.345.6789
2019.05.17.1200
223.255.255.254
555-0123 is short
212-055-0187 and 212-155-0187
-212-555-0187-3344
1212-555-01870
A212-555-0187B
212-555-0187.5
200.300.4000.5000
12/05/2019 10:20:30
05/17/2019 0800-1700
8 10 12 14 16 18 20 22
+1+2+3+4+5+6+7+8+9
+12-34-56-78 = -156
+120-34-5 of the exercise
scores +100 -200 +300 -400
+20 000 rows, +30 000 columns
grew by +12.5 % and +1 234 567
0123456789 are the digits
0123456789abcdef are hex digits
00112233445566778899
0.123.456.789
1-2-3-4-5-6-7-8-9
(1) (2) (3) (4) (5) (6) (7)
[0, 10, 200, 3000, 40000]
0 10 200 3000 40000
array([ 0, 12, 345, 6789])
2001:db8::1234:5678
de:ad:be:ef:00:01
+1000000000000000 is large
(+1234567890123456789)
EAN 4006381333931
VAT DE123456789
defined in Clause 252.227-7013 (c) (1) of DFARs
(this[e]|this[e+1]<<8|this[e+2]<<16)+16777216*this[e+3]
np.array(['+1980-02-29 01:02:03'])
lot 0123-4567-8901
"""

CARDS = """
Visa <<4111 1111 1111 1111>> works
<<4111111111111111>>
card <<4242-4242-4242-4242>>
<<4012888888881881>>, 12/29
old <<4222222222222>> of 13 digits
<<5555 5555 5555 4444>>
<<5555555555554444>>
MC <<5105105105105100>>
<<2223 0031 2200 3222>>
<<2223003122003222>>
<<5200828282828210>> debit
Amex <<378282246310005>>
<<3782 822463 10005>>
<<371449635398431>>
<<3714-496353-98431>>
<<378734493671000>> corporate
<<6011111111111117>>
<<6011 0009 9013 9424>>
<<6011000990139424>>
Diners <<30569309025904>>
<<3852 000002 3237>>
<<38520000023237>>
<<36227206271667>>
JCB <<3530111333300000>>
<<3566 0020 2036 0505>>
<<3566002020360505>>
UnionPay <<6200000000000005>>
<<6205 5000 0000 0000 004>>
Maestro <<6759649826438453>>
<<6304000000000000>>
<<5019717010103742>> Dankort
<<4000 0566 5566 5556>>
<<4000056655665556>>
<<6555900000604105>>
<<4917610000000000>>
<<4462030000000000>>
<<5425233430109903>>
<<2222420000001113>>
<<4263982640269299>>
<<374245455400126>>
"""

NO_CARDS = """
4111 1111 1111 1112
4242424242424241
5555555555554445
378282246310006
20190517123041
20190101000006
20190517 120000 59
20231231235951
2019051712304587
IMEI 490154203237518
IMEI 352099001761481
IMEI 356938035643809
3 1 4 1 5 9 2 6 5 3 5 8 9 7 9 7
2 3 5 7 1 1 1 3 1 7 1 9 2 9
2 4 6 8 10 12 14 16 18 9
5000000000000 units
2999999999993
3000 4000 5000 6003
2147483648 4294967296
20 30 40 50 60 70 80 1
6000 5000 4000 3005
3333333333333333333
1111 2222 3333 4444
9999 8888 7777 6664
0000 0000 0000 0000
2718281828459045235
3141592653589793238
order 4111-1111-1111
4.111111111111111
x4111111111111111
default_rng(5292808890472453840)
seed_val = 67280421310721;
rng(2524579827426)
40a40 40 0 1080 0 40 40 0 10-80 0z
Rational(385045107874520059, 390625000000000000)
2020-01-01 2020-01-01  1
36287999999999999/36288000000000000
S(3138428376722)/11
86 20 68 67 43 5 77 70 96 37 79 71 35
76 73 84 38 16 24 95 95 68 66 43 19 33
web.archive.org/web/20010524124604/http
20080830 172159 is a time
version 20170901182201
(3972320000000, 1, "01:06:12.3")
41111111111111111111
"""

IBANS = """
<<AD12 0001 2030 2003 5910 0100>>
<<AE070331234567890123456>>
<<AL47 2121 1009 0000 0002 3569 8741>>
<<AT61 1904 3002 3457 3201>>
<<AZ21 NABZ 0000 0000 1370 1000 1944>>
<<BA39 1290 0794 0102 8494>>
<<BE68 5390 0754 7034>>
<<BG80 BNBG 9661 1020 3456 78>>
<<BH67 BMAG 0000 1299 1234 56>>
<<BR1800360305000010009795493C1>>
<<CH93 0076 2011 6238 5295 7>>
<<CR05015202001026284066>>
<<CY17 0020 0128 0000 0012 0052 7600>>
<<CZ65 0800 0000 1920 0014 5399>>
<<DE89370400440532013000>>
<<DE89 3704 0044 0532 0130 00>>
<<DK50 0040 0440 1162 43>>
<<DO28 BAGR 0000 0001 2124 5361 1324>>
<<EE38 2200 2210 2014 5685>>
<<ES91 2100 0418 4502 0005 1332>>
<<FI21 1234 5600 0007 85>>
<<FO62 6460 0001 6316 34>>
<<FR14 2004 1010 0505 0001 3M02 606>>
<<GB29 NWBK 6016 1331 9268 19>>
<<GE29NB0000000101904917>>
<<GI75 NWBK 0000 0000 7099 453>>
<<GR16 0110 1250 0000 0001 2300 695>>
<<HR12 1001 0051 8630 0016 0>>
<<HU42 1177 3016 1111 1018 0000 0000>>
<<IE29 AIBK 9311 5212 3456 78>>
<<IL62 0108 0000 0009 9999 999>>
<<IS14 0159 2600 7654 5510 7303 39>>
<<IT60 X054 2811 1010 0000 0123 456>>
<<KW81CBKU0000000000001234560101>>
<<LB62 0999 0000 0001 0019 0122 9114>>
<<LI21 0881 0000 2324 013A A>>
<<LT12 1000 0111 0100 1000>>
<<LU28 0019 4006 4475 0000>>
<<LV80 BANK 0000 4351 9500 1>>
<<MC58 1122 2000 0101 2345 6789 030>>
<<MD24AG000225100013104168>>
<<MT84 MALT 0110 0001 2345 MTLC AST0 01S>>
<<NL91 ABNA 0417 1643 00>>
<<NO93 8601 1117 947>>
<<PL61 1090 1014 0000 0712 1981 2874>>
<<PT50 0002 0123 1234 5678 9015 4>>
<<RO49 AAAA 1B31 0075 9384 0000>>
<<RS35 2600 0560 1001 6113 79>>
<<SA03 8000 0000 6080 1016 7519>>
<<SE45 5000 0000 0583 9825 7466>>
<<SI56 2633 0001 2039 086>>
<<SK31 1200 0000 1987 4263 7541>>
<<TR33 0006 1005 1978 6457 8413 26>>
IBAN: <<DE75 5121 0800 1245 1261 99>> (Bank)
to <<GB33BUKB20201555555555>>.
"""

NO_IBANS = """
DE89370400440532013001
DE00 3704 0044 0532 0130 00
GB29 NWBK 6016 1331 9268 18
FR14 2004 1010 0505 0001 3M02 607
DE89 3704 0044
AA11 2222 3333 4444 5555 66
XY12 ABCD 1234 5678 9012 34
THE2 QUICK BROWN FOX
ISO9 0011 2233 4455 6677
NL91ABNA0417164301
SHA256 AB12CD34EF56AB12CD34
ES91 2100 0418 4502 0005 1333
"""


SAMPLE = {"phone": (PHONES, NO_PHONES), "card": (CARDS, NO_CARDS), "iban": (IBANS, NO_IBANS)}


@dataclass
class Findings:
    """What redaction makes of the sample of one type: right, wrong and missed findings, texts of the last two."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    texts: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed)


def measure(name: str) -> Findings:
    """A label counts as found where its text is redacted exactly, and otherwise as missed (and as wrong, if partly)."""
    found = Findings()
    for case in "".join(SAMPLE[name]).split("\n"):
        labels = len(_LABEL.findall(case))
        text, counts = redact(_LABEL.sub(r"\1", case), [name])
        if text == _LABEL.sub(TYPED[name], case):
            found.right += labels
            continue
        found.missed += labels
        found.wrong += counts[name]
        found.texts.append(case)
    return found
