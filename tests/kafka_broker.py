# SPDX-License-Identifier: Apache-2.0
"""A broker for tests of kafka_output: librdkafka's own cluster for tests, which speaks Kafka's protocol, in a process of its own, so that
it can be stopped, continued and killed. Its first line is its address.
"""

import sys
import time

from confluent_kafka import Producer

brokers, partitions, delay = sys.argv[1:]
holder = Producer({"test.mock.num.brokers": int(brokers), "topic.metadata.refresh.interval.ms": -1, "test.mock.broker.rtt": int(delay)})
listed = holder.list_topics(timeout=120)
print(",".join(f"{broker.host}:{broker.port}" for broker in listed.brokers.values()), flush=True)
while True:
    holder.poll(1)
    time.sleep(1)
